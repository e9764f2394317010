//! One client's account at the store, and all of its arithmetic.
//!
//! A bucket is a level that drains, as in [`limit`](tollgate_core::limit). What nodes hold and have not reported as
//! spent is kept beside the level. It takes up room in the bucket and does not drain, so nothing is lent twice. This
//! gives the limit over all nodes, for every interval *t*. Let *D* be the level and *O* what is lent. *D* + *O* ≤
//! capacity whenever something is lent, *D* falls by at most rate·*t*, and a node spends only what it holds. So at most
//! capacity + rate·*t* is admitted in *t*.
//!
//! Spending is reported later than it happens, and still drains from when it happened. In the terms of the generic cell
//! rate algorithm, a bucket is the moment at which it is empty, and spending *c* at *s* moves that moment from *x* to
//! max(*x*, *s*) + *c*/rate. Several steps come to max(*x* + *C*/rate, *M*), where *C* is their sum and *M* is the
//! moment at which a bucket with only these steps is empty. So a report of *C* and *M* is all that the bucket needs.
//! Reports of several nodes may arrive in another order than the spending happened. Adjacent steps in the wrong order
//! only make the moment later, so *D* is never less than what has not drained.
//!
//! A lease without reports ends by the store's clock. It ends later than by the node's clock, which started before the
//! node asked. What was lent then counts as spent, in the bucket and in the month. If the node reports again, the month
//! gets back what the node did not spend.
//!
//! What a request costs less in the end than it was charged at first comes back. To the month all of it comes back. Of a
//! bucket only what is certain to be still in it, see `Level::take_back`: had the request been charged less at first, the
//! bucket might have been empty since.
//!
//! A lease is *calm* if its client comes to the node now and then and leaves plenty. It lasts for almost a minute, so
//! that not every request makes the node borrow and give back. At most an eighth of a bucket lies idle in calm leases.
//!
//! All numbers stay below 2⁵³ (see [`EXACT`]), because the Redis backend has the same arithmetic in Lua.

mod level;
mod loan;
mod reservation;
mod room;
mod usage;

use serde::{Deserialize, Serialize};

pub(crate) use self::level::RISE;
pub use self::level::{Level, Poured};
pub(crate) use self::loan::CALM_AFTER;
pub use self::loan::Loan;
use self::loan::Pace;
pub use self::reservation::{
    Decided, Hold, LATE, MAX_RESERVATIONS, MINUTE, Reservation, ReservationCount, ReservationId, Settling,
};
use self::room::may_lie_idle;
pub use self::usage::{FIRST_DAY, Moved, Usage, day_of};
use tollgate_core::limit::{Day, Month};
use tollgate_core::terms::{Bucket, EXACT, Terms};
use tollgate_core::units::{Cost, Micros, Millis, UnixMicros, Work};
use tollgate_core::wire::{Grant, LeaseRequest, Returned};

/// How long a node may hold a lease without reporting.
pub const LEASE_TTL: Micros = Micros(10_000_000);

/// How long a node may hold a calm lease without reporting: long enough that a client that comes now and then still
/// finds it. It is below [`LONGEST_EMPTY`](tollgate_core::wire::LONGEST_EMPTY), so a late report still drains from when
/// it was spent.
pub const CALM_TTL: Micros = Micros(58_000_000);

/// The longest time to live in a grant. A message has 32 bits for it, and a clock that is set back makes it seem long.
const LONGEST_TTL: Millis = Millis(u32::MAX as u64);

/// How long a lease may lie idle while there is plenty.
pub const IDLE: Millis = Millis(5_000);

/// How long a calm lease may lie idle.
pub const IDLE_CALM: Millis = Millis(25_000);

/// How long a lease may lie idle if it was calm before, too. It is given back before it ends, and its last spending may
/// be reported late.
pub const IDLE_PATIENT: Millis = Millis(50_000);

/// How long a lease may lie idle while others may need it.
pub const IDLE_SCARCE: Millis = Millis(500);

/// Beyond what a request needs, a node is lent at most one part in this many of what is left, so that other nodes get
/// some.
pub const SHARE: u64 = 4;

/// One part in this many of a bucket may lie idle on all nodes together for long. Nobody misses that much.
pub(crate) const CALM_PART: u64 = 8;

/// How long the store remembers a node that holds nothing, so that a late report is still counted once.
pub const REMEMBERED: Micros = Micros(35 * 86_400 * 1_000_000);

/// The most nodes that one account remembers. Beyond, the node that holds nothing and has been silent the longest is
/// forgotten.
pub const MAX_LOANS: usize = 256;

/// The months before the current one whose usage is kept, by month and by day.
pub const MONTHS_KEPT: u16 = 15;

/// The store's clock may step back by this much: the account's time then stands still. If it steps back further,
/// somebody has set it, and the account goes on from the new time with what it holds.
pub const CLOCK_SKEW: Micros = Micros(1_000_000);

/// The largest amount in an account: see [`EXACT`].
const MOST: Cost = Cost(EXACT);

/// One client's account. The default is that of a client who was never seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The moment at which `levels` are valid.
    pub at: UnixMicros,
    /// One level per limit of the tier, in the tier's order.
    pub levels: [Level; 3],
    /// The nodes that have borrowed, in the order of their first loans.
    pub loans: Vec<Loan>,
    /// What was spent, by month, oldest first, and on the newest day.
    pub usage: Vec<Usage>,
    /// When the buckets were reset, while leases of before may last; otherwise 0.
    pub refilled: UnixMicros,
    /// What concerns earlier days, until the backend takes it.
    #[serde(skip)]
    pub moved: Vec<Moved>,
}

/// The answer to a [`LeaseRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The request was applied.
    Grant(Grant),
    /// The request is older than one that was applied. Nothing changed but the account's time.
    Stale,
}

/// The month of `moment`.
#[must_use]
pub fn month_of(moment: UnixMicros) -> u16 {
    Month::of(moment.nanos()).0
}

/// The end of `month`.
#[must_use]
pub fn end_of(month: u16) -> UnixMicros {
    Month(month).end().micros()
}

/// `amount`, but at most [`MOST`].
fn exact(amount: Cost) -> Cost {
    amount.min(MOST)
}

impl Account {
    /// Applies the report of `node` and lends it what it wants, as far as `terms` allow at `now`.
    pub fn apply(&mut self, terms: &Terms, node: u64, lease: &LeaseRequest, now: UnixMicros) -> Applied {
        let now = self.advance(terms, now);
        let month = month_of(now);
        let Some(index) = self.loan_of(node, lease, terms) else { return Applied::Stale };
        let mut loan = self.loans.get(index).copied().unwrap_or_default();
        let is_repeated = loan.seq == lease.seq && loan.epoch == lease.epoch && loan.has_been();
        let pace = loan.pace(lease, now);
        if !is_repeated {
            self.report(terms, &mut loan, lease);
        }
        loan.seq = lease.seq;
        self.put(index, loan);

        // A repeated request gets the answer that it got the first time. Its node may need more by now, and is told
        // whether there is more.
        let left = self.left(terms, month);
        let (need, want) = (exact(lease.need), exact(lease.want));
        let missing = need.less(loan.lent);
        let refusal = (missing > left).then(|| self.refusal(terms, missing, month, now));
        if !is_repeated {
            if refusal.is_none() {
                // Only whole units are lent: a fraction on each of several nodes pays for no request.
                let whole = |cost: Cost| Cost::from_units(cost.whole_units());
                let mut held = loan.lent.plus(missing);
                let left = left.less(missing);
                let waiting = whole(need.plus(exact(lease.queued)).less(held).min(left));
                held = held.plus(waiting);
                let mut share = whole(Cost(left.less(waiting).0 / SHARE));
                if pace != Pace::Brisk {
                    // A lease that may lie idle for long takes only its part of [`may_lie_idle`].
                    let lent = self.lent().less(loan.lent).plus(held);
                    share = share.min(whole(may_lie_idle(terms).less(lent)));
                }
                loan.lent = exact(held.plus(want.less(held).min(share)));
            }
            self.put(index, loan);
        }
        let is_scarce = self.is_scarce(terms, month);
        let is_calm = !is_repeated && !is_scarce && pace != Pace::Brisk && self.has_plenty(terms);
        if !is_repeated {
            let lasts = if is_calm { CALM_TTL } else { LEASE_TTL };
            loan.period = day_of(now).0;
            loan.ends = now.after(lasts).min(end_of(month));
            self.put(index, loan);
        }
        let grant = Grant {
            epoch: lease.epoch,
            seq: lease.seq,
            // This is the amount that `lent` was computed with. A repeated request may report more, which was not
            // applied.
            spent: loan.spent,
            hold: loan.lent,
            ttl: loan.ends.since(now).millis().min(LONGEST_TTL),
            idle: match pace {
                _ if is_scarce => IDLE_SCARCE,
                Pace::Calm if is_calm => IDLE_CALM,
                Pace::Patient if is_calm => IDLE_PATIENT,
                _ => IDLE,
            },
            refusal,
            ..self.grant(terms, month)
        };
        Applied::Grant(grant)
    }

    /// Decides about one request of `cost` and charges it, in one step and without a lease.
    pub fn charge(&mut self, terms: &Terms, cost: Cost, now: UnixMicros) -> Grant {
        let now = self.advance(terms, now);
        let month = month_of(now);
        let cost = exact(cost);
        let refusal = if cost <= self.left(terms, month) {
            self.fill(terms, cost, Cost(0), [Poured::Now; 3]);
            self.use_up(day_of(now), cost);
            None
        } else {
            Some(self.refusal(terms, cost, month, now))
        };
        Grant { refusal, ..self.grant(terms, month) }
    }

    /// Settles a request that was charged `first` at `charged_at`: it costs `cost` after all. It is not refused for that.
    pub fn settle(
        &mut self,
        terms: &Terms,
        first: Cost,
        cost: Cost,
        charged_at: UnixMicros,
        now: UnixMicros,
    ) -> Grant {
        let now = self.advance(terms, now);
        let month = month_of(now);
        let (first, cost) = (exact(first), exact(cost));
        let more = cost.less(first);
        self.fill(terms, more, Cost(0), [Poured::Now; 3]);
        self.use_up(day_of(now), more);
        // If the clock has been set back since, nobody knows how long ago that was.
        let age = if charged_at > now { Micros(EXACT) } else { now.since(charged_at) };
        let returned = Returned { cost: first.less(cost), age };
        self.give_back(day_of(charged_at.min(now)), returned.cost);
        for (level, bucket) in self.levels.iter_mut().zip(&terms.buckets) {
            level.take_back(bucket, returned, Work(EXACT));
        }
        self.grant(terms, month)
    }

    /// Fills every bucket, or sets the current month's usage back to zero, or both.
    pub fn reset(&mut self, bucket: bool, month: bool, now: UnixMicros) {
        if bucket {
            self.levels = Default::default();
            self.at = self.at.max(now);
            self.refilled = self.at;
        }
        if month {
            self.reset_month(now.max(self.at));
        }
    }

    /// The time from which on the account is as good as one that was never seen, if no month has to be kept.
    #[must_use]
    pub fn forgettable_at(&self, terms: &Terms) -> UnixMicros {
        let drained = self
            .levels
            .iter()
            .zip(&terms.buckets)
            .map(|(level, bucket)| self.at.after(level.until_empty(bucket)).after(Micros(1)));
        let ended = self.loans.iter().map(|loan| loan.ends.after(LEASE_TTL));
        drained.chain(ended).max().unwrap_or(self.at)
    }

    /// Lets time pass: buckets drain and leases end. The result is the account's new time, which never is before the
    /// last one.
    fn advance(&mut self, terms: &Terms, now: UnixMicros) -> UnixMicros {
        let was_set_back = self.at.since(now) > CLOCK_SKEW;
        let moment = if was_set_back { now } else { self.at.max(now) };
        // A lease counts as spent when it ends, however much later the next call comes, and drains from then on. If
        // several have ended, all drain from the last one's end.
        let has_ended = |loan: &Loan| loan.lent > Cost(0) && loan.ends <= moment;
        let ended = self.loans.iter().filter(|loan| has_ended(loan)).map(|loan| loan.ends).max();
        if let Some(ended) = ended {
            self.drain(terms, ended.max(self.at).min(moment));
            for index in 0..self.loans.len() {
                let Some(mut loan) = self.loans.get(index).copied().filter(has_ended) else { continue };
                self.forfeit(terms, &mut loan);
                self.put(index, loan);
            }
        }
        self.drain(terms, moment);
        if self.refilled > moment || moment.since(self.refilled) >= CALM_TTL {
            self.refilled = UnixMicros(0);
        }
        self.loans.retain(|loan| loan.lent > Cost(0) || moment.since(loan.ends) < REMEMBERED);
        moment
    }

    /// Moves the level that was kept for a bucket's rate into the bucket's place. Limits may come and go, and the
    /// others then have other places.
    fn arrange(&mut self, terms: &Terms) {
        for (index, bucket) in terms.buckets.iter().enumerate() {
            let is_kept_for = |place: usize, bucket: &Bucket| {
                self.levels.get(place).is_some_and(|level| level.is_of(bucket))
            };
            if is_kept_for(index, bucket) {
                continue;
            }
            let is_anothers =
                |place: usize| terms.buckets.get(place).is_some_and(|own| is_kept_for(place, own));
            let found =
                (0..self.levels.len()).find(|place| is_kept_for(*place, bucket) && !is_anothers(*place));
            if let Some(place) = found {
                self.levels.swap(index, place);
            }
        }
    }

    /// Lets the buckets drain until `moment`.
    fn drain(&mut self, terms: &Terms, moment: UnixMicros) {
        self.arrange(terms);
        let elapsed = moment.since(self.at);
        for level in self.levels.iter_mut().skip(terms.buckets.len()) {
            level.drain(elapsed);
        }
        for (level, bucket) in self.levels.iter_mut().zip(&terms.buckets) {
            level.drain_as(bucket, elapsed);
        }
        self.at = moment;
    }

    /// Counts what is left of `loan` as spent.
    fn forfeit(&mut self, terms: &Terms, loan: &mut Loan) {
        self.fill(terms, loan.lent, loan.lent, [Poured::Now; 3]);
        self.use_up(loan.day(day_of(self.at)), loan.lent);
        loan.forfeited = exact(loan.forfeited.plus(loan.lent));
        loan.lent = Cost(0);
    }

    /// The place of the loan of `node`, which is made if there is none. The result is `None` if `lease` is older than
    /// the loan.
    fn loan_of(&mut self, node: u64, lease: &LeaseRequest, terms: &Terms) -> Option<usize> {
        let known = exact(lease.acked);
        let fresh = Loan { node, epoch: lease.epoch, spent: known, ..Loan::default() };
        let Some(index) = self.loans.iter().position(|loan| loan.node == node) else {
            if self.loans.len() >= MAX_LOANS {
                let idle = self.loans.iter().enumerate().filter(|(_, loan)| loan.lent == Cost(0));
                let (oldest, _) = idle.min_by_key(|(_, loan)| loan.ends)?;
                self.loans.remove(oldest);
            }
            self.loans.push(fresh);
            return self.loans.len().checked_sub(1);
        };
        let mut loan = self.loans.get(index).copied()?;
        if lease.epoch < loan.epoch || (lease.epoch == loan.epoch && lease.seq < loan.seq) {
            return None;
        }
        if lease.epoch > loan.epoch {
            // The node has lost its record, and with it what it has spent since its last report.
            self.forfeit(terms, &mut loan);
            self.put(index, fresh);
        }
        Some(index)
    }

    /// Counts what the node has spent since its last report, and takes back what it no longer holds.
    fn report(&mut self, terms: &Terms, loan: &mut Loan, lease: &LeaseRequest) {
        // What came back was spent before, and the store may not know of either.
        let spent = exact(lease.spent).plus(exact(lease.returned.cost));
        let delta = spent.less(loan.spent);
        let back = loan.spent.max(spent).less(exact(lease.spent)).min(exact(lease.returned.cost));
        // What it still holds was not spent.
        let from_lease = delta.min(loan.lent.less(lease.hold));
        let without = delta.less(from_lease);
        let today = day_of(self.at);
        // If the node's clock runs ahead, its day has changed already. All of the spending belongs to the store's day.
        let is_known = (FIRST_DAY..=today.0).contains(&lease.day);
        let current = if is_known { Day(lease.day) } else { today };
        let turn = if is_known { exact(lease.spent_before_day).min(spent) } else { Cost(0) };
        let before = turn.less(loan.spent).min(delta);
        let after = delta.less(before);
        // What counted as spent when the loan ended is not counted a second time.
        let lent_on = loan.day(today);
        let (known_before, known_after) = if lent_on < current {
            (loan.forfeited.min(without).min(before), Cost(0))
        } else {
            (Cost(0), loan.forfeited.min(without).min(after))
        };
        let known = known_before.max(known_after);
        let unknown = without.less(known);
        let poured = if self.refilled > UnixMicros(0) {
            // The node took the buckets for fuller than they are, so what it says of when it has spent does not hold.
            [Poured::Now; 3]
        } else {
            lease.since.map(Poured::from_wire)
        };
        let levels_before = self.levels.map(|level| level.work);
        self.fill(terms, from_lease.plus(unknown), from_lease, poured);
        self.use_up(Day(current.0.saturating_sub(1)), before.less(known_before));
        self.use_up(current, after.less(known_after));
        // What the node did not spend after all goes back to the month.
        self.give_back(lent_on, loan.forfeited.less(known));
        self.take_back_of_usage(current, Returned { cost: back, ..lease.returned });
        // If the answer to an earlier report was lost, this one tells again what came back, and `delta` seems to be spent for the
        // first time. So as much of what comes back takes no more from a bucket than has just been poured in.
        let certain = back.less(delta);
        for ((level, bucket), before) in self.levels.iter_mut().zip(&terms.buckets).zip(levels_before) {
            let poured_in = level.work.less(before);
            let most = poured_in.plus(bucket.work_of(certain.min(bucket.holds().plus(Cost(1)))));
            level.take_back(bucket, Returned { cost: back, ..lease.returned }, most);
        }
        loan.forfeited = Cost(0);
        loan.spent = loan.spent.max(spent).less(back);
        loan.lent = loan.lent.less(from_lease).min(lease.hold);
    }

    /// Fills the buckets with `cost`, of which `lent` was lent. A bucket never gets more than full.
    fn fill(&mut self, terms: &Terms, cost: Cost, lent: Cost, poured: [Poured; 3]) {
        for ((level, bucket), poured) in self.levels.iter_mut().zip(&terms.buckets).zip(poured) {
            level.fill(bucket, cost, lent, poured);
        }
    }

    fn put(&mut self, index: usize, loan: Loan) {
        if let Some(place) = self.loans.get_mut(index) {
            *place = loan;
        }
    }
}

#[cfg(test)]
mod tests;
