//! What the store has refused, as a record keeps it.

use super::Tick;
use tollgate_core::wire::Refusal;

/// A refusal of the store's that still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The cost that was refused; at least as much is refused too. 0: nothing was.
    pub cost: u32,
    /// Until then.
    pub until: Tick,
    /// Which limits refused; bit 0 is the tier's first, bit 3 the month.
    pub limits: u8,
}

impl Refused {
    /// The month's bit in [`Self::limits`].
    pub const MONTH: u8 = 1 << 3;
    /// The greatest cost that is remembered.
    pub const MAX_COST: u32 = (1 << 24) - 1;

    /// What `refusal` of `cost`, thousandths, says at `now`.
    pub(super) fn new(refusal: &Refusal, cost: u64, now: Tick) -> Self {
        Self {
            cost: u32::try_from(cost).unwrap_or(u32::MAX).clamp(1, Self::MAX_COST),
            // What can never be had need not be asked for again soon; the limits may change.
            until: now.after(if refusal.never { 60_000 } else { refusal.wait.div_ceil(1_000) }),
            limits: (refusal.limits & 7) | if refusal.month { Self::MONTH } else { 0 },
        }
    }
}
