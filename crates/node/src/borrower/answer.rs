//! What the store's answers change on the node.

use tollgate_core::account::Account;
use tollgate_core::client::ClientId;
use tollgate_core::limit::Month;
use tollgate_core::policy::Policy;
use tollgate_core::terms::tag;
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire::{Answer, Ask, Entry, Grant, LeaseRequest, Reply};

use super::{Borrower, Call, enqueue};
use crate::breaker::Transition;
use crate::clock::{NodeMillis, NodeNanos, Now, Offset, at_most};
use crate::lease::LeaseState;
use crate::table::{Change, Records, SharedData, Table, Updated};

impl Borrower {
    /// Takes note that `reply` to `call` has come: the store is there, and the reply has its clock and its changes of
    /// overrides. The answers in it are still to be applied. The second value is whether the store was away until now.
    pub fn receive(
        &mut self,
        policy: &Policy,
        call: Call,
        reply: Reply,
        node: NodeNanos,
    ) -> (Received, bool) {
        let is_back = self.breaker.worked() == Transition::Closed;
        self.offset = Some(Offset::between(reply.now.nanos(), node));
        let changed = self.overrides.apply(policy, &reply);
        (Received { call, reply, next: 0, changed, charge: None }, is_back)
    }

    /// Applies a slice of the answers; whether there are more.
    pub fn apply_slice(
        &mut self,
        policy: &Policy,
        table: &Table,
        data: &impl SharedData,
        received: &mut Received,
        node: NodeNanos,
    ) -> bool {
        let now = self.now(node, || received.reply.now.nanos());
        let records = Records { table, data, now };
        let all = received.call.batch.entries.iter().zip(&received.reply.answers);
        for (entry, answer) in all.skip(received.next).take(self.slice) {
            received.next = received.next.saturating_add(1);
            match (&entry.ask, answer) {
                (Ask::Charge { .. }, Answer::Grant(grant)) => received.charge = Some(*grant),
                (Ask::Charge { .. }, _) => {}
                (Ask::Lease(lease), _) => {
                    self.apply_answer(policy, &records, entry, lease, answer, received.call.sent)
                }
            }
        }
        if received.next < received.reply.answers.len() {
            return true;
        }
        self.void_changed(&records, std::mem::take(&mut received.changed));
        false
    }

    /// Voids the leases and refusals of clients that were reset or have other limits now, so that they ask again.
    fn void_changed(&mut self, records: &Records<'_, impl SharedData>, changed: Vec<ClientId>) {
        let now = records.now.millis();
        for (id, is_anonymous) in changed.into_iter().flat_map(|id| [(id, false), (id, true)]) {
            let client = records.table.fingerprint_of(id, is_anonymous);
            records.update(client, |mut state| {
                if state.lease.epoch == 0 {
                    return (Change::Keep, ());
                }
                state.lease.refused = Default::default();
                state.lease.give_up(now);
                state.lease.fresh |= LeaseState::UNKNOWN;
                (Change::Write(state), ())
            });
            if let Some(stats) = self.clients.get_mut(&id) {
                stats.poke(now);
                enqueue(&mut self.queue, id, stats);
            }
        }
    }

    /// Applies the store's `answer` to `lease`, which `entry` sent at `sent`.
    fn apply_answer(
        &mut self,
        policy: &Policy,
        records: &Records<'_, impl SharedData>,
        entry: &Entry,
        lease: &LeaseRequest,
        answer: &Answer,
        sent: NodeMillis,
    ) {
        let now = records.now.millis();
        let tier = policy.tiers.get(usize::from(entry.offer)).unwrap_or(&policy.anonymous);
        let overridden = self.overrides.of(&entry.client).cloned();
        let tier = overridden.as_ref().map_or(tier, |overridden| &overridden.tier);
        let client = records.table.fingerprint_of(entry.client, entry.is_anonymous);
        let seen = Seen { now: records.now, took: now.since(sent) };
        let updated = records.update(client, |mut state| match answer {
            Answer::Grant(grant) => {
                let is_applied = state.lease.apply_grant(grant, lease, sent.tick(), now.tick());
                if is_applied {
                    let since = state.lease.spent_since(grant);
                    state.turn_back_to(records.now.unix);
                    state.turn_to(Month(grant.month).start());
                    state.lease.terms = tag(tier);
                    state.account = account_seen(grant, &state.account, since, tier, seen);
                    state.lease.renew(now);
                }
                let change = if is_applied { Change::Write(state) } else { Change::Keep };
                (change, is_applied.then_some(state.lease))
            }
            Answer::Stale if state.lease.epoch == lease.epoch as u32 && state.lease.seq == lease.seq => {
                state.lease.begin_anew(now);
                (Change::Write(state), None)
            }
            _ => (Change::Keep, None),
        });
        if let (Some(stats), Updated::Done { answer: Some(lease) }) =
            (self.clients.get_mut(&entry.client), updated)
        {
            stats.acknowledged(&lease, self.timing, now);
            enqueue(&mut self.queue, entry.client, stats);
        }
    }
}

/// A reply, and how much of it was applied.
#[derive(Debug)]
pub struct Received {
    call: Call,
    reply: Reply,
    /// How many of its answers were applied.
    next: usize,
    /// The clients whose leases and refusals are void, once all answers were applied.
    changed: Vec<ClientId>,
    charge: Option<Grant>,
}

impl Received {
    /// The call that it answers.
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// One answer per entry of the call.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.reply.answers
    }

    /// The answer to a charge, once it was applied.
    #[must_use]
    pub const fn charge(&self) -> Option<&Grant> {
        self.charge.as_ref()
    }
}

/// When an answer is applied, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When it is applied.
    pub now: Now,
    /// The time since the message was made.
    pub took: Millis,
}

/// What a node's record may assume about the client's account: what the store has said, and `since`, which this node has
/// spent and not yet reported. `before` is what the record assumed so far.
///
/// The levels are never above what has not drained yet. By them the node tells whether a bucket was empty when it was filled
/// (see [`LeaseRequest::since`]): it may take a bucket for empty that was not, but never the other way round. So what the
/// store has said counts from the moment at which it was asked, and the node's own levels stand beside it. They cannot show
/// more than the store knows, unless the bucket was reset meanwhile.
#[must_use]
pub fn account_seen(grant: &Grant, before: &Account, since: Cost, tier: &Tier, seen: Seen) -> Account {
    let now = seen.now.unix;
    let before = before.at(now, tier);
    let mut account = before;
    // An answer may be from before the month's turn.
    if Month(grant.month) >= before.month {
        account.month = Month(grant.month);
        account.used = grant.month_used.plus(since);
    }
    let age = at_most(seen.took);
    for ((level, limit), used) in account.levels.iter_mut().zip(&tier.limits).zip(grant.used) {
        // The store rounds up.
        let said = limit.level(used.less(Cost(1)));
        // Where nothing is used the bucket is empty, however much the node took it to hold: what is spent next drains from then.
        let most = limit.filled(limit.level(used), since);
        *level = limit.filled(limit.drained(said, age), since).max(most.min(*level));
    }
    account
}

/// The account as the store describes it.
#[must_use]
pub fn account_of(grant: &Grant, tier: &Tier, now: UnixNanos) -> Account {
    let mut account =
        Account { at: now, month: Month(grant.month), used: grant.month_used, ..Default::default() };
    let mut levels = account.levels;
    for ((level, limit), used) in levels.iter_mut().zip(&tier.limits).zip(grant.used) {
        *level = limit.level(used);
    }
    account.set_levels(tier, levels);
    account
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::units::UnixNanos;

    #[test]
    fn a_bucket_that_the_store_calls_empty_is_empty_whatever_the_node_took_it_to_hold() {
        // A thousandth of a unit takes more than the 5 ms to drain that count as nothing.
        let limit = tollgate_core::terms::Rate { units: 11, seconds: 60, burst: 200 }.limit().unwrap();
        let tier = Tier {
            name: "slow".into(),
            limits: [limit].into_iter().collect(),
            monthly: None,
            on_failure: None,
        };
        let now = Now::from(UnixNanos::from_seconds(1_795_478_400));
        let mut before = Account { at: now.unix, ..Account::default() };
        before.set_levels(&tier, [limit.level(Cost(20_000)), Default::default(), Default::default()]);
        let seen = Seen { now, took: Millis(3) };
        let account = account_seen(&Grant::default(), &before, Cost(0), &tier, seen);
        assert!(limit.is_full_within(account.levels[0], Default::default()));
        let used = Grant { used: [Cost(5_000), Cost(0), Cost(0)], ..Grant::default() };
        let account = account_seen(&used, &before, Cost(0), &tier, seen);
        assert_eq!(account.levels[0], limit.level(Cost(5_000)));
    }
}
