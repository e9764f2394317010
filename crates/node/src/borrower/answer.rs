//! What the store has answered, and what that changes on the node.

use super::{Borrower, Call, enqueue};
use crate::breaker::Transition;
use crate::clock::{NodeMillis, NodeNanos, Now, Offset, at_most};
use crate::lease::LeaseState;
use crate::table::{Change, SharedData, Table, Updated};
use tollgate_core::account::Account;
use tollgate_core::client::ClientId;
use tollgate_core::limit::Month;
use tollgate_core::policy::Policy;
use tollgate_core::terms::tag;
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire::{Answer, Ask, Entry, Grant, LeaseRequest, Reply};

impl Borrower {
    /// `reply` to `call` has come: the store is there, this is its clock, and what has changed for all. Its answers are still
    /// to be taken in. And whether the store has just come back.
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

    /// Takes in a slice of the answers. Whether there are more.
    pub fn apply_slice(
        &mut self,
        policy: &Policy,
        table: &Table,
        data: &impl SharedData,
        received: &mut Received,
        node: NodeNanos,
    ) -> bool {
        let times = self.now(node, || received.reply.now.nanos());
        let all = received.call.batch.entries.iter().zip(&received.reply.answers);
        for (entry, answer) in all.skip(received.next).take(self.slice) {
            received.next = received.next.saturating_add(1);
            match (&entry.ask, answer) {
                (Ask::Charge { .. }, Answer::Grant(grant)) => received.charge = Some(*grant),
                (Ask::Charge { .. }, _) => {}
                (Ask::Lease(lease), _) => {
                    self.apply_answer(policy, table, data, entry, lease, answer, received.call.sent, times)
                }
            }
        }
        if received.next < received.reply.answers.len() {
            return true;
        }
        // Who was reset or has other limits now asks again.
        let changed = std::mem::take(&mut received.changed);
        for (id, is_anonymous) in changed.into_iter().flat_map(|id| [(id, false), (id, true)]) {
            let client = table.fingerprint_of(id, is_anonymous);
            table.update(data, client, &policy.anonymous, times, |mut state| {
                if state.lease.epoch == 0 {
                    return (Change::Keep, ());
                }
                state.lease.refused = Default::default();
                state.lease.give_up(times.millis());
                state.lease.fresh |= LeaseState::UNKNOWN;
                (Change::Write(state), ())
            });
            if let Some(stats) = self.clients.get_mut(&id) {
                stats.poke(times.millis());
                enqueue(&mut self.queue, id, stats);
            }
        }
        false
    }

    #[allow(clippy::too_many_arguments, reason = "one answer and all that it is about")]
    fn apply_answer(
        &mut self,
        policy: &Policy,
        table: &Table,
        data: &impl SharedData,
        entry: &Entry,
        lease: &LeaseRequest,
        answer: &Answer,
        sent: NodeMillis,
        times: Now,
    ) {
        let tier = policy.tiers.get(usize::from(entry.offer)).unwrap_or(&policy.anonymous);
        let overridden = self.overrides.of(&entry.client).cloned();
        let tier = overridden.as_ref().map_or(tier, |overridden| &overridden.tier);
        let client = table.fingerprint_of(entry.client, entry.is_anonymous);
        let seen = Seen { times, took: times.millis().since(sent) };
        let updated = table.update(data, client, tier, times, |mut state| match answer {
            Answer::Grant(grant) => {
                let is_taken = state.lease.apply_grant(grant, lease.need, sent.tick(), times.millis().tick());
                if is_taken {
                    let since = state.lease.spent.less(grant.spent);
                    state.lease.terms = tag(tier);
                    state.account = account_seen(grant, &state.account, since, tier, seen);
                }
                (if is_taken { Change::Write(state) } else { Change::Keep }, is_taken.then_some(state.lease))
            }
            Answer::Stale if state.lease.epoch == lease.epoch as u32 && state.lease.seq == lease.seq => {
                state.lease.begin_anew(times.millis());
                (Change::Write(state), None)
            }
            _ => (Change::Keep, None),
        });
        if let (Some(stats), Updated::Done { answer: Some(lease) }) =
            (self.clients.get_mut(&entry.client), updated)
        {
            stats.acknowledged(&lease, self.timing, times.millis());
            enqueue(&mut self.queue, entry.client, stats);
        }
    }
}

/// A reply, and how far it is taken in.
#[derive(Debug)]
pub struct Received {
    call: Call,
    reply: Reply,
    /// How many of its answers are.
    next: usize,
    /// Whose record is to be looked at once all are.
    changed: Vec<ClientId>,
    charge: Option<Grant>,
}

impl Received {
    /// The call that it answers.
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// One answer an entry of the call.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.reply.answers
    }

    /// What was said to a charge, once it is taken in.
    #[must_use]
    pub const fn charge(&self) -> Option<&Grant> {
        self.charge.as_ref()
    }
}

/// When an answer is taken in, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Now.
    pub times: Now,
    /// The time since the message was made.
    pub took: Millis,
}

/// What a node's record may believe of the client's account: the store's word, and `since`, which this node has spent
/// without its knowing yet. `before` is what the record believed so far.
///
/// The levels are never more than what has not drained: the node tells by them whether a bucket was empty when it was
/// filled (see [`LeaseRequest::since`]), and may take one for empty that was not, but not the other way round. So the store's
/// word counts as from when it was asked, and beside it stands what the node knows by itself. It cannot know of more than
/// the store, unless the bucket was reset since.
#[must_use]
pub fn account_seen(grant: &Grant, before: &Account, since: Cost, tier: &Tier, seen: Seen) -> Account {
    let now = seen.times.unix;
    let before = before.at(now, tier);
    let mut account = Account { month: Month(grant.month), used: grant.month_used.plus(since), ..before };
    let age = at_most(seen.took);
    for ((level, limit), used) in account.levels.iter_mut().zip(&tier.limits).zip(grant.used) {
        // The store rounds up.
        let said = limit.level(used.less(Cost(1)));
        let most = limit.filled(said, since.plus(Cost(1)));
        *level = limit.filled(limit.drained(said, age), since).max(most.min(*level));
    }
    account
}

/// The account that the store tells of.
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
