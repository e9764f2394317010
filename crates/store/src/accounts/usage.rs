//! What a client has used, by month and by day.
//!
//! An account keeps its months, and of the days only the newest: whatever concerns an earlier one is [`Moved`] at once, to where
//! the backend keeps days. So an account does not grow by its days, and is read and written as fast as without them.

use serde::{Deserialize, Serialize};
use tollgate_core::limit::{Day, Month};
use tollgate_core::units::{Cost, UnixMicros};
use tollgate_core::wire::Returned;

use super::{Account, MONTHS_KEPT, end_of, exact, month_of};

/// The first number that stands for a day, in 1981. Below it are months, until 2311.
pub const FIRST_DAY: u16 = 4_096;

/// What was spent in one month, or on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The months since January 1970, or from [`FIRST_DAY`] on the days since 1970-01-01.
    pub period: u16,
    /// The amount.
    pub used: Cost,
}

/// What a day's usage changes by, of a day that the account does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The day.
    pub day: Day,
    /// What comes to it.
    pub more: Cost,
    /// What comes off it, after that.
    pub less: Cost,
}

/// The day of `moment`.
#[must_use]
pub fn day_of(moment: UnixMicros) -> Day {
    Day::of(moment.nanos())
}

impl Account {
    /// What was spent in `month`, as far as it was reported.
    #[must_use]
    pub fn used(&self, month: u16) -> Cost {
        self.used_in(month)
    }

    /// What was spent on `day`, as far as it was reported and the account keeps it.
    #[must_use]
    pub fn used_on(&self, day: Day) -> Cost {
        self.used_in(day.0)
    }

    fn used_in(&self, period: u16) -> Cost {
        self.usage.iter().find(|usage| usage.period == period).map_or(Cost(0), |usage| usage.used)
    }

    /// What was spent in `month`, with the leases of that month that have ended at `now`. These count as spent even if
    /// nothing has asked for the client since.
    #[must_use]
    pub fn used_at(&self, month: u16, now: UnixMicros) -> Cost {
        self.with_ended(self.used(month), now, |day| day.month() == Month(month))
    }

    /// The same of a day.
    #[must_use]
    pub fn used_on_at(&self, day: Day, now: UnixMicros) -> Cost {
        self.with_ended(self.used_on(day), now, |of| of == day)
    }

    fn with_ended(&self, used: Cost, now: UnixMicros, is_within: impl Fn(Day) -> bool) -> Cost {
        let ended =
            self.loans.iter().filter(|loan| loan.ends <= now && is_within(loan.day(day_of(loan.ends))));
        ended.fold(used, |sum, loan| sum.plus(loan.lent))
    }

    /// The days whose usage has changed beyond what the account keeps. The backend adds this to what it keeps, in the same step.
    pub fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn use_up(&mut self, day: Day, cost: Cost) {
        if cost == Cost(0) {
            return;
        }
        self.add(day.month().0, cost);
        let newest = self.usage.last().map_or(0, |usage| usage.period);
        if day.0 < FIRST_DAY {
            // It is a clock of before 1981.
        } else if day.0 < newest {
            self.move_to(day, cost, Cost(0));
        } else {
            self.add(day.0, cost);
        }
    }

    /// Adds to a month, or to the newest day, which takes the place of the one before.
    fn add(&mut self, period: u16, cost: Cost) {
        if let Some(usage) = self.usage.iter_mut().find(|usage| usage.period == period) {
            usage.used = exact(usage.used.plus(cost));
            return;
        }
        if period >= FIRST_DAY
            && let Some(before) = self.usage.pop_if(|usage| usage.period >= FIRST_DAY)
        {
            self.move_to(Day(before.period), before.used, Cost(0));
        }
        self.usage.push(Usage { period, used: exact(cost) });
        self.usage.sort_unstable_by_key(|usage| usage.period);
        let newest =
            self.usage.iter().rfind(|usage| usage.period < FIRST_DAY).map_or(0, |usage| usage.period);
        self.usage.retain(|usage| usage.period.saturating_add(MONTHS_KEPT) > newest);
    }

    /// Gives back what was spent on `day`.
    pub(super) fn give_back(&mut self, day: Day, cost: Cost) {
        self.give_back_of_month(day.month().0, cost);
        self.give_back_of_day(day, cost);
    }

    fn give_back_of_month(&mut self, month: u16, cost: Cost) {
        if let Some(usage) = self.usage.iter_mut().find(|usage| usage.period == month) {
            usage.used = usage.used.less(cost);
        }
    }

    fn give_back_of_day(&mut self, day: Day, cost: Cost) {
        if let Some(usage) = self.usage.iter_mut().find(|usage| usage.period == day.0) {
            usage.used = usage.used.less(cost);
        } else {
            self.move_to(day, Cost(0), cost);
        }
    }

    /// Gives back what requests cost less than they were charged at first. What `day`'s month has not used that much of comes off
    /// the month before, if they may have been charged then. Otherwise the month was reset. In the same way it comes off `day`
    /// and the day before.
    pub(super) fn take_back_of_usage(&mut self, day: Day, returned: Returned) {
        let month = day.month().0;
        let of_month = returned.cost.min(self.used(month));
        self.give_back_of_month(month, of_month);
        let before = month.saturating_sub(1);
        if self.at.since(end_of(before)) < returned.age {
            self.give_back_of_month(before, returned.cost.less(of_month));
        }
        let newest = self.usage.last().map_or(0, |usage| usage.period);
        let of_day = if day.0 >= newest { returned.cost.min(self.used_on(day)) } else { returned.cost };
        self.give_back_of_day(day, of_day);
        if self.at.since(day.start().micros()) < returned.age {
            self.give_back_of_day(Day(day.0.saturating_sub(1)), returned.cost.less(of_day));
        }
    }

    /// Sets the usage of the month of `moment` back to zero. Its days stay what they were: by them is billed.
    pub(super) fn reset_month(&mut self, moment: UnixMicros) {
        let month = month_of(moment);
        self.usage.retain(|usage| usage.period != month);
    }

    fn move_to(&mut self, day: Day, more: Cost, less: Cost) {
        if (more, less) != (Cost(0), Cost(0)) && day.0 >= FIRST_DAY {
            self.moved.push(Moved { day, more, less });
        }
    }
}
