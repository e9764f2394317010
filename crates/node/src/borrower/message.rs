//! What one message to the store says about one client, made together with its record.

use tollgate_core::terms::tag;
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, Micros, Millis};
use tollgate_core::wire::{Ask, LONGEST_EMPTY, LeaseRequest};

use super::client_stats::ClientStats;
use super::{Borrower, Call, Subject, enqueue};
use crate::clock::Now;
use crate::lease::{Demand, LeaseState, Rarity, Wish};
use crate::table::{Change, Records, SharedData, State, Updated};

impl Borrower {
    /// The message by which the store decides one request. It also gives back what this node still holds of the client's
    /// lease and reports what was spent of it, so that the store decides with nothing missing.
    pub fn ask_charge(
        &mut self,
        records: &Records<'_, impl SharedData>,
        subject: &Subject<'_>,
        tier: &Tier,
        cost: Cost,
    ) -> Call {
        let now = records.now.millis();
        self.last_request = Some(now);
        self.withdraw(subject.id);
        let lease = if self.is_strict { None } else { self.return_lease(records, subject, tier) };
        let asks = lease.map(Ask::Lease).into_iter().chain([Ask::Charge { cost }]);
        let entries = asks.map(|ask| self.entry(subject, ask)).collect();
        self.call(entries, now)
    }

    /// The message that gives the client's lease back and reports what was spent of it, if there is anything to say.
    fn return_lease(
        &self,
        records: &Records<'_, impl SharedData>,
        subject: &Subject<'_>,
        tier: &Tier,
    ) -> Option<LeaseRequest> {
        let client = records.table.fingerprint_of(subject.id, subject.is_anonymous());
        let (now, patience) = (records.now, self.timing.patience());
        let updated = records.update(client, |mut state| {
            if state.lease.left == Cost(0) && !state.lease.has_news() {
                return (Change::Keep, None);
            }
            state.turn_to(now.unix);
            state.lease.offer = subject.offer;
            state.lease.come_under(tag(tier));
            state.lease.give_back();
            let lease = message_of(&mut state, tier, Wish::default(), patience, now);
            (Change::Write(state), Some(lease))
        });
        match updated {
            Updated::Done { answer } => answer.map(|lease| as_sent(lease, subject.is_anonymous())),
            Updated::Unknown => None,
        }
    }

    /// The message by which one request borrows for all requests of its client that wait here, of which `demand` tells.
    pub fn ask(
        &mut self,
        records: &Records<'_, impl SharedData>,
        subject: &Subject<'_>,
        tier: &Tier,
        demand: Demand,
    ) -> Option<Call> {
        let (now, patience) = (records.now, self.timing.patience());
        let Demand { need, queued } = demand;
        self.withdraw(subject.id);
        let remembered = self.clients.get_mut(&subject.id).map(|stats| {
            stats.record_wait(now.millis());
            enqueue(&mut self.queue, subject.id, stats);
            stats.want()
        });
        let client = records.table.fingerprint_of(subject.id, subject.is_anonymous());
        let updated = records.update(client, |mut state| {
            let rarity = state.lease.rarity(now.millis().tick());
            let beyond = remembered.unwrap_or_else(|| ClientStats::want_first(need, rarity));
            let wish = Wish { need, queued, want: need.plus(queued).plus(beyond) };
            state.turn_to(now.unix);
            state.lease.come_under(tag(tier));
            // If no answer comes, the worker that finds the record has to know whose limits these are.
            state.lease.offer = subject.offer;
            let lease = message_of(&mut state, tier, wish, patience, now);
            (Change::Write(state), (lease, rarity))
        });
        let Updated::Done { answer: (lease, rarity) } = updated else { return None };
        if let (None, Some(Rarity::Seldom)) = (remembered, rarity) {
            self.with_stats(subject, now.millis(), ClientStats::mark_seldom);
        }
        let ask = Ask::Lease(as_sent(lease, subject.is_anonymous()));
        Some(self.call(vec![self.entry(subject, ask)], now.millis()))
    }
}

/// The next message about the client whose record holds `state`.
pub(super) fn message_of(
    state: &mut State,
    tier: &Tier,
    wish: Wish,
    patience: Millis,
    now: Now,
) -> LeaseRequest {
    let until_empty = until_empty(state, tier, now);
    state.lease.message(wish, until_empty, patience, now.millis())
}

/// The coarsest clock of a gateway.
const CLOCK_STEP: Micros = Micros(1_000);

/// The most that two clocks drift apart while a node and the store do not speak.
const MOST_DRIFT: Micros = Micros(60_000);

/// When each bucket of the client will be empty, as far as this node knows: see [`LeaseRequest::since`].
fn until_empty(state: &State, tier: &Tier, now: Now) -> [Micros; 3] {
    // The node's clock may have fallen behind the store's by a thousandth of the time since the two last spoke. And Kong's
    // clock has steps of a millisecond, so spending may be that much later than it says.
    let apart = now.millis().tick().since(state.lease.asked);
    // A thousandth of a millisecond is a microsecond.
    let drift = Micros(apart.0).min(MOST_DRIFT).plus(CLOCK_STEP);
    let mut until_empty = [Micros(0); 3];
    if !state.account.is_of(tier) {
        return until_empty;
    }
    let levels = state.account.levels.iter().zip(&tier.limits);
    for (place, (level, limit)) in until_empty.iter_mut().zip(levels) {
        let empty_at = limit.full_at(*level, state.account.at);
        let ahead = empty_at.since(now.unix).micros_rounded_up();
        let ago = now.unix.since(empty_at).micros();
        *place = LONGEST_EMPTY.plus(ahead).plus(drift).less(ago).max(Micros(2));
    }
    until_empty
}

/// `lease` as it is sent: [`LeaseRequest::acked`] is told of anonymous clients alone. Of consumers a store that has lost writes
/// learns all that was spent since the epoch's start.
pub(super) const fn as_sent(lease: LeaseRequest, is_anonymous: bool) -> LeaseRequest {
    LeaseRequest { acked: if is_anonymous { lease.acked } else { LeaseState::START }, ..lease }
}
