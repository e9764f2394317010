//! What one message to the store says about one client, made together with its record.

use super::client_stats::ClientStats;
use super::{Borrower, Call, Subject, enqueue};
use crate::clock::Now;
use crate::lease::{Rarity, Wish};
use crate::table::{Change, SharedData, State, Table, Updated};
use tollgate_core::terms::tag;
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, Micros, Millis};
use tollgate_core::wire::{Ask, LONGEST_EMPTY, LeaseRequest};

impl Borrower {
    /// The message by which one request is decided by the store. What its client has of a lease here goes back with it,
    /// and what it has spent of one is told: the store decides by all that there is.
    pub fn ask_charge(
        &mut self,
        table: &Table,
        data: &impl SharedData,
        subject: &Subject<'_>,
        tier: &Tier,
        cost: Cost,
        times: Now,
    ) -> Call {
        self.last_request = Some(times.millis());
        self.withdraw(subject.id);
        let lease = if self.is_strict { None } else { self.return_lease(table, data, subject, tier, times) };
        let asks = lease.map(Ask::Lease).into_iter().chain([Ask::Charge { cost }]);
        let entries = asks.map(|ask| self.entry(subject, ask)).collect();
        self.call(entries, times.millis())
    }

    /// The message that gives the client's lease back and reports what was spent of it, if there is anything to say.
    fn return_lease(
        &self,
        table: &Table,
        data: &impl SharedData,
        subject: &Subject<'_>,
        tier: &Tier,
        times: Now,
    ) -> Option<LeaseRequest> {
        let client = table.fingerprint_of(subject.id, subject.name.is_none());
        let patience = self.timing.patience();
        let updated = table.update(data, client, tier, times, |mut state| {
            if state.lease.left == Cost(0) && state.lease.owed() == Cost(0) {
                return (Change::Keep, None);
            }
            state.turn_to(times.unix);
            state.lease.offer = subject.offer;
            state.lease.come_under(tag(tier));
            state.lease.give_back();
            let lease = message_of(&mut state, tier, Wish::default(), patience, times);
            (Change::Write(state), Some(lease))
        });
        match updated {
            Updated::Done { answer } => answer.map(|lease| as_sent(lease, subject.name.is_none())),
            Updated::Unknown => None,
        }
    }

    /// The message by which one request asks for itself: without `need` it would be refused, and `queued` would serve all
    /// those of its client that wait here.
    #[allow(clippy::too_many_arguments, reason = "one client and all that it asks for")]
    pub fn ask(
        &mut self,
        table: &Table,
        data: &impl SharedData,
        subject: &Subject<'_>,
        tier: &Tier,
        need: Cost,
        queued: Cost,
        times: Now,
    ) -> Option<Call> {
        self.withdraw(subject.id);
        let remembered = self.clients.get_mut(&subject.id).map(|stats| {
            stats.record_wait(times.millis());
            enqueue(&mut self.queue, subject.id, stats);
            stats.want()
        });
        let patience = self.timing.patience();
        let client = table.fingerprint_of(subject.id, subject.name.is_none());
        let updated = table.update(data, client, tier, times, |mut state| {
            let rarity = state.lease.rarity(times.millis().tick());
            let beyond = remembered.unwrap_or_else(|| ClientStats::want_first(need, rarity));
            let wish = Wish { need, queued, want: need.plus(queued).plus(beyond) };
            state.turn_to(times.unix);
            state.lease.come_under(tag(tier));
            // Should no answer come, whoever finds the record has to know whose limits these are.
            state.lease.offer = subject.offer;
            let lease = message_of(&mut state, tier, wish, patience, times);
            (Change::Write(state), (lease, rarity))
        });
        let Updated::Done { answer: (lease, rarity) } = updated else { return None };
        if let (None, Some(Rarity::Seldom)) = (remembered, rarity) {
            self.with_stats(subject, times.millis(), ClientStats::mark_seldom);
        }
        let ask = Ask::Lease(as_sent(lease, subject.name.is_none()));
        Some(self.call(vec![self.entry(subject, ask)], times.millis()))
    }
}

/// The next message about the client whose record holds `state`.
pub(super) fn message_of(
    state: &mut State,
    tier: &Tier,
    wish: Wish,
    patience: Millis,
    times: Now,
) -> LeaseRequest {
    let until_empty = until_empty(state, tier, times);
    state.lease.message(state.account.month, wish, until_empty, patience, times.millis())
}

/// The coarsest clock of a gateway.
const CLOCK_STEP: Micros = Micros(1_000);

/// Two clocks drift apart by no more than this while a node and the store do not speak.
const MOST_DRIFT: Micros = Micros(60_000);

/// When each bucket of the client will be empty, as far as this node knows: see [`LeaseRequest::since`].
fn until_empty(state: &State, tier: &Tier, times: Now) -> [Micros; 3] {
    // The node's clock may be slower than the store's: a thousandth of the time since it last spoke with it. And Kong's has
    // steps of a millisecond: what was spent may have been spent as much later than it says.
    let apart = times.millis().tick().since(state.lease.asked);
    // A thousandth of milliseconds are as many microseconds.
    let drift = Micros(apart.0).min(MOST_DRIFT).plus(CLOCK_STEP);
    let mut until_empty = [Micros(0); 3];
    if !state.account.is_of(tier) {
        return until_empty;
    }
    let levels = state.account.levels.iter().zip(&tier.limits);
    for (place, (level, limit)) in until_empty.iter_mut().zip(levels) {
        let empty_at = limit.full_at(*level, state.account.at);
        let ahead = empty_at.since(times.unix).micros_rounded_up();
        let ago = times.unix.since(empty_at).micros();
        *place = LONGEST_EMPTY.plus(ahead).plus(drift).less(ago).max(Micros(2));
    }
    until_empty
}

/// `lease` as it goes out: see [`LeaseRequest::acked`].
pub(super) const fn as_sent(lease: LeaseRequest, is_anonymous: bool) -> LeaseRequest {
    LeaseRequest { acked: if is_anonymous { lease.acked } else { Cost(0) }, ..lease }
}
