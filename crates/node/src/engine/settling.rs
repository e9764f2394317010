//! What a request costs in the end, where only its response tells.
//!
//! A request is charged its price when it comes, and that charge alone decides whether it is let through. [`Engine::settle`]
//! then turns the charge into what the request has cost: the rest comes back, or more is charged without asking. It needs no
//! store: what has changed is told by the next report.

use tollgate_core::account::Account;
use tollgate_core::headers;
use tollgate_core::limit::PackedRate;
use tollgate_core::price::Price;
use tollgate_core::terms::tag;
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, Millis};

use super::borrowing::record;
use super::{AppliedTier, Engine, Outcome, Ruling};
use crate::borrower::{Subject, Timing};
use crate::clock::Now;
use crate::lease::Spend;
use crate::table::{Change, Fingerprint, SharedData, State, Updated};

/// A charge that can still be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The record that was charged.
    client: Fingerprint,
    name: Option<Box<[u8]>>,
    offer: u8,
    /// Under whose limits.
    under: AppliedTier,
    /// The account after it; `None` if another account has decided.
    account: Option<Account>,
    /// What had come back to the record by then.
    returned: Cost,
    at: Now,
    cost: Cost,
    settles: bool,
    by: By,
}

/// Who has made a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A node without a store.
    NodeAlone,
    /// The node, which tells the store.
    Node,
    /// The store itself.
    Store,
}

impl Charge {
    /// What was charged.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The client that was charged.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { id: Fingerprint::id_of(self.client.bits), name: self.name.as_deref(), offer: self.offer }
    }
}

/// What a response says about the cost of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// This is the cost.
    Cost(Cost),
    /// By its status: nothing is to be paid.
    Refunded,
    /// Something that is no cost.
    Malformed,
}

/// Who was charged, and what had come back to the record by then.
pub(super) struct Charged<'a, F> {
    /// Computed only for what may be settled.
    pub client: F,
    pub name: Option<&'a [u8]>,
    pub offer: u8,
    pub under: &'a AppliedTier,
    pub returned: Cost,
    pub by: By,
}

impl Engine {
    /// Notes in `ruling` what its request was charged, and how that can be settled, if it can. A host that holds charges may
    /// let go on what was refused: it then settles a charge of nothing.
    pub(super) fn note_charge(
        &self,
        ruling: &mut Ruling,
        who: Charged<'_, impl FnOnce() -> Fingerprint>,
        price: Price,
        now: Now,
    ) {
        let cost = match ruling.outcome {
            Outcome::Allowed | Outcome::Fallback => price.cost,
            Outcome::RefusedRate | Outcome::RefusedMonth | Outcome::Error if self.holds_charges => Cost::FREE,
            _ => return,
        };
        ruling.charged = cost;
        if !(price.settles || self.holds_charges || !self.policy.refund.is_empty()) {
            return;
        }
        // Nobody counts what an anonymous client spends that has no limit.
        let is_counted =
            who.name.is_some() || who.by == By::NodeAlone || !self.tier(who.under).is_unlimited();
        if !is_counted {
            return;
        }
        ruling.charge = Some(Box::new(Charge {
            client: (who.client)(),
            name: who.name.map(Into::into),
            offer: who.offer,
            under: who.under.clone(),
            account: ruling.account.filter(|_| ruling.under == *who.under),
            returned: who.returned,
            at: now,
            cost,
            settles: price.settles,
            by: who.by,
        }));
    }

    /// What the response with this `status` says about the cost of the request that was charged `charge`. `cost` reads its
    /// header [`UPSTREAM_COST`](tollgate_core::headers::UPSTREAM_COST).
    pub fn said(&self, charge: &Charge, status: Option<u16>, cost: impl FnOnce() -> Option<Vec<u8>>) -> Said {
        if status.is_some_and(|status| self.policy.refund.covers(status)) {
            return Said::Refunded;
        }
        match charge.settles.then(cost).flatten() {
            Some(text) => headers::cost_in(&text).map_or(Said::Malformed, Said::Cost),
            None => Said::Nothing,
        }
    }

    /// Settles the charge in `ruling`, which costs `cost` in the end, and lets the ruling show the account as it is then. The
    /// result is the charge, and how much more it was; `None` if there is nothing to settle, or no more.
    pub fn settle(
        &self,
        ruling: &mut Ruling,
        cost: Cost,
        data: &impl SharedData,
        now: Now,
    ) -> Option<(Box<Charge>, Cost)> {
        let charge = ruling.charge.take()?;
        if cost == charge.cost {
            return None;
        }
        let tier = self.tier(&charge.under);
        let patience = self.policy.store.as_ref().map_or(Millis(0), |store| Timing::of(store).patience());
        let updated = self.table.update(data, charge.client, now, |mut state| {
            let is_settled = settle(&mut state, tier, &charge, cost, now, patience);
            (
                if is_settled { Change::Write(state) } else { Change::Keep },
                is_settled.then_some(state.account),
            )
        });
        // If nothing is known of the charge any more, it stays.
        let Updated::Done { answer: Some(account) } = updated else { return None };
        if charge.account.is_some() {
            ruling.account = Some(account);
            ruling.now = now.unix;
        }
        let more = cost.less(charge.cost);
        Some((charge, more))
    }
}

/// Charges are not known to be older than this.
const LONG_AGO: Millis = Millis(86_400_000);

/// Settles `charge` in the record that holds `state`; false if the record knows nothing of it any more.
fn settle(state: &mut State, tier: &Tier, charge: &Charge, cost: Cost, now: Now, patience: Millis) -> bool {
    let has_store = charge.by != By::NodeAlone;
    state.turn_to(now.unix);
    let tick = now.millis().tick();
    if let more @ Cost(1..) = cost.less(charge.cost) {
        if has_store {
            let is_same = state.lease.is_under(tag(tier)) && !tier.is_unlimited();
            if !is_same || state.lease.spend(more, tick) != Spend::Paid {
                state.lease.owe(more, now.millis());
            }
        }
        record::charge(state, tier, more, now.unix);
        return true;
    }
    let less = charge.cost.less(cost);
    let others = if has_store { Cost(0) } else { state.lease.returns.counted_since(charge.returned) };
    // A tick can be told from others for some days.
    let charged = charge.at.millis().max(now.millis().before(LONG_AGO)).tick();
    // A message may be repeated for as long as it is waited for, and then says more than it did at first.
    // If the record is a new one, the store knows what the one before has told, and has counted the rest as spent.
    let may_be_told = charge.by == By::Store
        || state.lease.epoch == 0
        || state.lease.asked.after(patience).since(charged) > Millis(0);
    if !has_store {
        state.lease.returns.count(less);
    } else if !state.lease.take_back(less, charged, may_be_told, now.millis()) {
        return false;
    }
    state.account = state.account.at(now.unix, tier);
    state.account.used = state.account.used.less(less);
    let Some(then) = charge.account.filter(|then| then.at <= state.account.at) else { return true };
    let elapsed = state.account.at.since(then.at);
    let before = then.levels.iter().zip(&then.rates);
    for ((level, (then, rate)), limit) in state.account.levels.iter_mut().zip(before).zip(&tier.limits) {
        if *rate == PackedRate::of(limit) {
            *level = limit.taken_back(*level, less, then.less(limit.level(others)), elapsed);
        }
    }
    true
}

#[cfg(test)]
mod tests;
