//! What a client's record says to a request.

use tollgate_core::account::{Account, Refusal, Verdict, decide_all};
use tollgate_core::limit::Month;
use tollgate_core::terms;
use tollgate_core::tier::{OnFailure, Tier};
use tollgate_core::units::{Cost, Millis, Nanos, UnixNanos};

use crate::clock::Now;
use crate::lease::{LeaseState, Refused, Spend};
use crate::table::State;

/// What a record says to a request.
pub enum LocalVerdict {
    /// Paid from the lease, of which this is left; `None` if nothing limits the client.
    Paid(Account, Option<Cost>),
    /// Let through without the store.
    Without(Account),
    Refused(Account, Refusal),
    /// The store has to be asked.
    Ask,
    /// `on_failure: closed`, or a cost that no bucket holds.
    Closed,
    /// `on_failure: ip`: the network's bucket decides.
    ByNetwork,
}

/// What `state` says to a request of `cost`. If the request is let through, `state` becomes what the record has to hold.
pub fn decide(
    state: &mut State,
    tier: &Tier,
    cost: Cost,
    now: Now,
    failure: Option<OnFailure>,
    is_pressed: bool,
    is_anonymous: bool,
) -> LocalVerdict {
    state.turn_to(now.unix);
    if tier.is_unlimited() {
        if is_anonymous {
            return LocalVerdict::Paid(state.account.at(now.unix, tier), None);
        }
        state.lease.owe(cost, now.millis());
        return LocalVerdict::Paid(charge(state, tier, cost, now.unix), None);
    }
    let tick = now.millis().tick();
    // A lease or refusal under other terms says nothing about these.
    let is_same = state.lease.is_under(terms::tag(tier));
    let spend = if is_same { state.lease.spend(cost, tick) } else { Spend::Ask };
    match (spend, failure) {
        (Spend::Paid, _) => LocalVerdict::Paid(charge(state, tier, cost, now.unix), Some(state.lease.left)),
        (Spend::Refused(refused), None) => repeat_refusal(&state.account, &refused, tier, cost, now),
        (Spend::Ask, None) if is_pressed && is_same && is_covered(&state.lease, cost) => {
            repeat_refusal(&state.account, &state.lease.refused, tier, cost, now)
        }
        (Spend::Ask, None) => LocalVerdict::Ask,
        (_, Some(OnFailure::Closed)) => LocalVerdict::Closed,
        (_, Some(OnFailure::Open)) => {
            state.lease.owe(cost, now.millis());
            LocalVerdict::Without(charge(state, tier, cost, now.unix))
        }
        (_, Some(OnFailure::Ip)) if !is_anonymous => LocalVerdict::ByNetwork,
        (_, Some(OnFailure::Local | OnFailure::Ip)) => {
            let fresh = empty_buckets(&state.account.at(now.unix, tier), tier);
            match decide_all(&mut state.account, tier, cost, now.unix) {
                Verdict::Allowed => {
                    state.lease.owe(cost, now.millis());
                    state.lease.fresh |= fresh;
                    LocalVerdict::Without(state.account)
                }
                Verdict::NotNow(refusal) => LocalVerdict::Refused(state.account, refusal),
                Verdict::Never => LocalVerdict::Closed,
            }
        }
    }
}

/// Whether the store's last refusal covers `cost`, though its time is over.
fn is_covered(lease: &LeaseState, cost: Cost) -> bool {
    lease.refused.cost > Cost(0) && cost >= lease.refused.cost
}

/// Charges `cost` to the node's view of the client's account, from which headers are made.
pub fn charge(state: &mut State, tier: &Tier, cost: Cost, now: UnixNanos) -> Account {
    state.account = state.account.at(now, tier);
    state.lease.fresh |= empty_buckets(&state.account, tier);
    for (level, limit) in state.account.levels.iter_mut().zip(&tier.limits) {
        *level = limit.filled(*level, cost);
    }
    state.account.used = state.account.used.plus(cost);
    state.account
}

/// Which of the buckets are empty; bit 0 is the tier's first.
fn empty_buckets(account: &Account, tier: &Tier) -> u8 {
    // Clocks may differ by this much while a lease lasts. A bucket that is wrongly taken for empty costs only a little of what
    // drains meanwhile.
    const NEARLY: Nanos = Millis(5).nanos();
    let limits = account.levels.iter().zip(&tier.limits).enumerate();
    limits.fold(0, |bits, (index, (level, limit))| {
        bits | u8::from(limit.is_full_within(*level, NEARLY)) << index
    })
}

/// The refusal of a cost that is at least what the store has refused. If it is more, it is refused for longer. The account is
/// shown as one that refuses, because this node may not know what other nodes have spent.
fn repeat_refusal(account: &Account, refused: &Refused, tier: &Tier, cost: Cost, now: Now) -> LocalVerdict {
    let wait = refused.until.since(now.millis().tick());
    let more = cost.less(refused.cost);
    let longer = tier
        .limits
        .iter()
        .enumerate()
        .filter(|(index, _)| refused.limits & (1 << index) != 0)
        .map(|(_, limit)| limit.time_for(more))
        .max()
        .unwrap_or_default();
    let is_month = refused.limits & Refused::MONTH != 0;
    let until = now.unix.after(wait.nanos()).after(longer);
    let until = if is_month { until.max(Month::of(now.unix).end()) } else { until };
    let refusal = Refusal { limits: refused.limits & 7, month: is_month, until };
    let mut account = account.at(now.unix, tier);
    let levels = account.levels.iter_mut().zip(&tier.limits).enumerate();
    for (level, limit) in levels.filter(|(index, _)| refusal.by_limit(*index)).map(|(_, pair)| pair) {
        *level = (*level).max(limit.refusing(cost, until.since(now.unix)));
    }
    if let (true, Some(quota)) = (is_month, tier.monthly) {
        account.used = account.used.max(quota.less(cost).plus(Cost(1)));
    }
    LocalVerdict::Refused(account, refusal)
}
