//! What the store has refused, as a record keeps it.

use tollgate_core::units::{Cost, Millis};
use tollgate_core::wire::Refusal;

use crate::clock::Tick;

/// A refusal by the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The cost that was refused. Anything at least as high is refused, too. 0 if nothing was refused.
    pub cost: Cost,
    /// How long the refusal holds.
    pub until: Tick,
    /// Which limits refused; bit 0 is the tier's first, bit 3 the month.
    pub limits: u8,
}

impl Refused {
    /// The month's bit in [`Self::limits`].
    pub const MONTH: u8 = 1 << 3;
    /// The highest cost that is remembered.
    pub const MAX_COST: Cost = Cost((1 << 24) - 1);
    /// How long a refusal holds that is for ever: the limits may change.
    const NEVER: Millis = Millis(60_000);

    /// The record of a `refusal` of `cost` that came at `now`.
    pub(super) fn new(refusal: &Refusal, cost: Cost, now: Tick) -> Self {
        Self {
            cost: cost.clamp(Cost(1), Self::MAX_COST),
            until: now.after(if refusal.never { Self::NEVER } else { refusal.wait.millis_rounded_up() }),
            limits: (refusal.limits & 7) | if refusal.month { Self::MONTH } else { 0 },
        }
    }
}
