//! What the store has answered, and what that changes on the node.

use super::{Borrower, Call, Taken, Times, enqueue};
use crate::lease::breaker::Turn;
use crate::lease::client::ClientId;
use crate::lease::hold::{Hold, tick};
use crate::lease::terms::tag;
use crate::lease::wire::{Answer, Ask, Entry, Lease, Reply, Standing};
use crate::limit::{Account, Month};
use crate::policy::{Policy, Tier};
use crate::table::{Change, SharedStore, Table, Updated};
use crate::units::{Cost, Nanos, UnixNanos};

impl Borrower {
    /// Takes in what the store has answered, all at once. What comes back beside it are the standings of charges, in order.
    pub fn take(
        &mut self,
        policy: &Policy,
        table: &Table,
        store: &impl SharedStore,
        call: &Call,
        reply: &Reply,
        mono_nanos: u64,
    ) -> (Taken, Vec<Option<Standing>>) {
        let (taken, mut answers) = self.hear(policy, reply, mono_nanos);
        let mut charges = Vec::new();
        while self.take_some(policy, table, store, call, reply, &mut answers, &mut charges, mono_nanos) {}
        (taken, charges)
    }

    /// A reply has come: the store is there, this is its clock, and what has changed for all. Its answers are still to be taken.
    pub fn hear(&mut self, policy: &Policy, reply: &Reply, mono_nanos: u64) -> (Taken, Answers) {
        let is_back = self.breaker.worked() == Turn::Closed;
        self.offset = Some(reply.now.saturating_mul(1_000).wrapping_sub(mono_nanos));
        let changed = self.overrides.take(policy, reply);
        (Taken { is_back }, Answers { changed, next: 0 })
    }

    /// Takes in some of a reply's answers, and puts the standings of charges to `charges`. Whether there are more.
    #[allow(clippy::too_many_arguments, reason = "one reply and all that it is about")]
    pub fn take_some(
        &mut self,
        policy: &Policy,
        table: &Table,
        store: &impl SharedStore,
        call: &Call,
        reply: &Reply,
        answers: &mut Answers,
        charges: &mut Vec<Option<Standing>>,
        mono_nanos: u64,
    ) -> bool {
        let now =
            self.offset.map_or(reply.now.saturating_mul(1_000), |offset| mono_nanos.wrapping_add(offset));
        let times = Times { now: UnixNanos(now), mono: mono_nanos / 1_000_000, node: mono_nanos };
        let all = call.batch.entries.iter().zip(&reply.answers);
        for (entry, answer) in all.skip(answers.next).take(self.slice) {
            answers.next = answers.next.saturating_add(1);
            match &entry.ask {
                Ask::Charge { .. } => charges.push(match answer {
                    Answer::Standing(standing) => Some(*standing),
                    _ => None,
                }),
                Ask::Lease(lease) => {
                    self.take_one(policy, table, store, entry, lease, answer, call.sent, times)
                }
            }
        }
        if answers.next < reply.answers.len().min(call.batch.entries.len()) {
            return true;
        }
        // Who was reset or has other limits now asks again.
        let changed = std::mem::take(&mut answers.changed);
        for (id, is_stranger) in changed.into_iter().flat_map(|id| [(id, false), (id, true)]) {
            let client = table.fingerprint_of(id, is_stranger);
            table.update(store, client, &policy.anonymous, times.moment(), |mut state| {
                if state.hold.epoch == 0 {
                    return (Change::Keep, ());
                }
                state.hold.refused = Default::default();
                state.hold.give_up(times.mono);
                state.hold.fresh |= Hold::UNKNOWN;
                (Change::Write(state), ())
            });
            if let Some(known) = self.known.get_mut(&id) {
                known.poke(times.mono);
                enqueue(&mut self.queue, id, known);
            }
        }
        false
    }

    #[allow(clippy::too_many_arguments, reason = "one answer and all that it is about")]
    fn take_one(
        &mut self,
        policy: &Policy,
        table: &Table,
        store: &impl SharedStore,
        entry: &Entry,
        lease: &Lease,
        answer: &Answer,
        sent: u64,
        times: Times,
    ) {
        let tier = policy.tiers.get(usize::from(entry.offer)).unwrap_or(&policy.anonymous);
        let overridden = self.overrides.of(&entry.client).cloned();
        let tier = overridden.as_ref().map_or(tier, |overridden| &overridden.tier);
        let client = table.fingerprint_of(entry.client, entry.is_stranger);
        let seen = Seen { times, took_ms: times.mono.saturating_sub(sent) };
        let updated = table.update(store, client, tier, times.moment(), |mut state| match answer {
            Answer::Standing(standing) => {
                let is_taken = state.hold.take(standing, lease.need, tick(sent), tick(times.mono));
                if is_taken {
                    let since = Cost(state.hold.spent.saturating_sub(standing.spent));
                    state.hold.terms = tag(tier);
                    state.account = account_seen(standing, &state.account, since, tier, seen);
                }
                (if is_taken { Change::Write(state) } else { Change::Keep }, is_taken.then_some(state.hold))
            }
            Answer::Stale if state.hold.epoch == lease.epoch as u32 && state.hold.seq == lease.seq => {
                state.hold.begin_anew(times.mono);
                (Change::Write(state), None)
            }
            _ => (Change::Keep, None),
        });
        if let (Some(known), Updated::Done { answer: Some(hold) }) =
            (self.known.get_mut(&entry.client), updated)
        {
            known.told(&hold, self.rhythm, times.mono);
            enqueue(&mut self.queue, entry.client, known);
        }
    }
}

/// How far a reply's answers are taken in.
#[derive(Debug)]
pub struct Answers {
    /// Whose record is to be looked at once all are.
    changed: Vec<ClientId>,
    next: usize,
}

/// When an answer is taken in, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Now.
    pub times: Times,
    /// Milliseconds from when the message was made.
    pub took_ms: u64,
}

/// What a node's record may believe of the client's account: the store's word, and `since`, which this node has spent
/// without its knowing yet. `before` is what the record believed so far.
///
/// The levels are never more than what has not drained: the node tells by them whether a bucket was empty when it was
/// filled (see [`Lease::since`]), and may take one for empty that was not, but not the other way round. So the store's
/// word counts as from when it was asked, and beside it stands what the node knows by itself. It cannot know of more than
/// the store, unless the bucket was reset since.
#[must_use]
pub fn account_seen(standing: &Standing, before: &Account, since: Cost, tier: &Tier, seen: Seen) -> Account {
    let now = seen.times.now;
    let before = before.at(now, tier);
    let mut account =
        Account { month: Month(standing.month), used: Cost(standing.month_used).plus(since), ..before };
    let age = Nanos(seen.took_ms.saturating_add(1).saturating_mul(1_000_000));
    for ((level, limit), used) in account.levels.iter_mut().zip(&tier.limits).zip(standing.used) {
        // The store rounds up.
        let said = limit.level(Cost(used.saturating_sub(1)));
        let most = limit.filled(said, since.plus(Cost(1)));
        *level = limit.filled(limit.drained(said, age), since).max(most.min(*level));
    }
    account
}

/// The account that the store tells of.
#[must_use]
pub fn account_of(standing: &Standing, tier: &Tier, now: UnixNanos) -> Account {
    let mut account = Account {
        at: now,
        month: Month(standing.month),
        used: Cost(standing.month_used),
        ..Default::default()
    };
    let mut levels = account.levels;
    for ((level, limit), used) in levels.iter_mut().zip(&tier.limits).zip(standing.used) {
        *level = limit.level(Cost(used));
    }
    account.set_levels(tier, levels);
    account
}
