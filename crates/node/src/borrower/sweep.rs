//! Records that no worker remembers any more, though they still owe or hold something; and all such records, when the
//! worker ends.

use tollgate_core::client::ClientId;
use tollgate_core::policy::Policy;
use tollgate_core::units::Cost;
use tollgate_core::wire::{Ask, Entry, LeaseRequest};

use super::compose::{MAX_COMPOSED, MAX_NAMES};
use super::message::{as_sent, message_of};
use super::{Borrower, Call, Timing};
use crate::clock::Now;
use crate::lease::Wish;
use crate::table::{Change, Fingerprint, Records, SharedData, State, Updated};

impl Borrower {
    /// Searches a few slots for records that no worker has reported for long, because their worker is gone, and adds them to
    /// `entries`. Also clears refusals whose time is over.
    pub(super) fn sweep(
        &mut self,
        policy: &Policy,
        records: &Records<'_, impl SharedData>,
        entries: &mut Vec<Entry>,
    ) {
        let (table, now) = (records.table, records.now);
        let tick = now.millis().tick();
        let mut found = Vec::new();
        let is_silent = |state: &State| {
            let looked_after = state.lease.idle_time().plus(Timing::LATE);
            tick.since(state.lease.asked) > looked_after.max(Timing::ORPHANED)
        };
        let is_quiet =
            |state: &State| tick.since(state.lease.asked) > Timing::QUIET && state.lease.has_idle_past();
        let is_over =
            |state: &State| state.lease.refused.cost > Cost(0) && state.lease.refused.until.has_come(tick);
        let slots = table.geometry().count();
        let due = u64::from(slots).saturating_mul(self.timing.interval.0).div_ceil(Timing::ROUND.0);
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        for _ in 0..due.clamp(1, Timing::SWEPT).min(slots) {
            table.each(records.data, self.sweep_cursor, |record, is_anonymous| {
                let state = &record.state;
                let is_owing = state.lease.is_worth_keeping();
                if state.lease.epoch > 0
                    && is_silent(state)
                    && (is_owing || is_over(state) || is_quiet(state))
                {
                    found.push((Fingerprint::id_of(record.client), is_anonymous));
                }
            });
            self.sweep_cursor = self.sweep_cursor.wrapping_add(1).checked_rem(slots).unwrap_or(0);
        }
        for (id, is_anonymous) in found {
            if self.clients.contains_key(&id) {
                continue;
            }
            let client = table.fingerprint_of(id, is_anonymous);
            let updated = records.update(client, |mut state| {
                if !is_silent(&state) {
                    return (Change::Keep, None);
                }
                let mut has_forgotten = state.lease.forget_refusal(tick);
                if is_quiet(&state) {
                    state.lease.begin_anew(now.millis());
                    has_forgotten = true;
                }
                if !state.lease.is_worth_keeping() {
                    return (if has_forgotten { Change::Write(state) } else { Change::Keep }, None);
                }
                let lease = self.last_message(policy, id, &mut state, now);
                (Change::Write(state), Some((lease, state.lease.offer)))
            });
            if let Updated::Done { answer: Some((lease, offer)), .. } = updated {
                let ask = Ask::Lease(as_sent(lease, is_anonymous));
                entries.push(Entry { client: id, name: None, is_anonymous, offer, ask });
            }
        }
    }

    /// The next batch of a worker that is about to end: it reports all that was spent on this node and returns every lease.
    /// None: there is nothing left to say. It looks at the whole table, which no request should wait for.
    pub fn drain(&mut self, policy: &Policy, records: &Records<'_, impl SharedData>) -> Option<Call> {
        let (table, now) = (records.table, records.now);
        let mut found = Vec::new();
        let slots = if self.node == 0 { 0 } else { table.geometry().count() };
        for slot in 0..slots {
            table.each(records.data, slot, |record, is_anonymous| {
                if record.state.lease.epoch > 0 && record.state.lease.is_worth_keeping() {
                    found.push((Fingerprint::id_of(record.client), is_anonymous));
                }
            });
            if found.len() >= MAX_COMPOSED {
                break;
            }
        }
        // What a tick has put together is said again here.
        self.forget_batch();
        let mut entries = Vec::with_capacity(found.len());
        let mut names = 0_usize;
        for (id, is_anonymous) in found.into_iter().take(MAX_COMPOSED) {
            if names >= MAX_NAMES {
                break;
            }
            let client = table.fingerprint_of(id, is_anonymous);
            let updated = records.update(client, |mut state| {
                let lease = self.last_message(policy, id, &mut state, now);
                (Change::Write(state), (lease, state.lease.offer))
            });
            let Updated::Done { answer: (lease, offer) } = updated else { continue };
            let name = self.clients.get(&id).and_then(|stats| stats.unsent_name(id));
            names = names.saturating_add(name.as_ref().map_or(0, Vec::len));
            let ask = Ask::Lease(as_sent(lease, is_anonymous));
            entries.push(Entry { client: id, name, is_anonymous, offer, ask });
        }
        (!entries.is_empty()).then(|| self.call(entries, now.millis()))
    }

    /// The message that gives back what the record in `state` holds and reports what it owes.
    fn last_message(&self, policy: &Policy, id: ClientId, state: &mut State, now: Now) -> LeaseRequest {
        state.turn_to(now.unix);
        state.lease.give_back();
        let tier = policy.tiers.get(usize::from(state.lease.offer)).unwrap_or(&policy.anonymous);
        let tier = self.overrides.of(&id).map_or(tier, |overridden| &overridden.tier);
        message_of(state, tier, Wish::default(), self.timing.patience(), now)
    }
}
