//! What the store has refused, as a record keeps it.

use crate::clock::Tick;
use tollgate_core::units::{Cost, Millis};
use tollgate_core::wire::Refusal;

/// A refusal of the store's that still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The cost that was refused; at least as much is refused too. 0: nothing was.
    pub cost: Cost,
    /// Until then.
    pub until: Tick,
    /// Which limits refused; bit 0 is the tier's first, bit 3 the month.
    pub limits: u8,
}

impl Refused {
    /// The month's bit in [`Self::limits`].
    pub const MONTH: u8 = 1 << 3;
    /// The greatest cost that is remembered.
    pub const MAX_COST: Cost = Cost((1 << 24) - 1);
    /// What can never be had need not be asked for again before this: the limits may change.
    const NEVER: Millis = Millis(60_000);

    /// What `refusal` of `cost` says at `now`.
    pub(super) fn new(refusal: &Refusal, cost: Cost, now: Tick) -> Self {
        Self {
            cost: cost.clamp(Cost(1), Self::MAX_COST),
            until: now.after(if refusal.never { Self::NEVER } else { refusal.wait.millis_rounded_up() }),
            limits: (refusal.limits & 7) | if refusal.month { Self::MONTH } else { 0 },
        }
    }
}
