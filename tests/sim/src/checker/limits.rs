//! Which limits a client had, and when.

use super::Evidence;
use crate::log::Turn;
use crate::plan::{SECOND, Tier};

/// A time in which a client's limits stayed the same, by the store's clock.
#[derive(Clone, Debug)]
pub struct Spell {
    /// When it began.
    pub from: u64,
    /// When it ended.
    pub until: u64,
    /// The limits.
    pub tier: Tier,
}

/// All spells of a client. Between two of them, its limits are not known.
pub fn spells(evidence: &Evidence<'_>, client: u32) -> Vec<Spell> {
    let mut tier = evidence.plan.tiers[evidence.planned(client).tier].clone();
    let (mut spells, mut from) = (Vec::new(), Some(0));
    let mut changing = 0_u32;
    let turns = evidence.log.turns.borrow();
    for (at, turn) in turns.get(&client).into_iter().flatten() {
        match turn {
            Turn::Changing(_) => {
                changing += 1;
                if let Some(from) = from.take() {
                    spells.push(Spell { from, until: *at, tier: tier.clone() });
                }
            }
            Turn::Holds(new) => {
                tier = new.clone();
                changing -= 1;
                from = (changing == 0).then_some(*at);
            }
            Turn::Stays => {
                changing -= 1;
                from = (changing == 0).then_some(*at);
            }
            Turn::Reset(..) => {}
        }
    }
    spells.extend(from.map(|from| Spell { from, until: u64::MAX, tier }));
    spells
}

/// Every tier that a client ever had, at least at one gateway.
pub fn tiers(evidence: &Evidence<'_>, client: u32) -> Vec<Tier> {
    let first = evidence.plan.tiers[evidence.planned(client).tier].clone();
    let turns = evidence.log.turns.borrow();
    let later = turns.get(&client).into_iter().flatten().filter_map(|(_, turn)| match turn {
        Turn::Changing(tier) => Some(tier.clone()),
        _ => None,
    });
    std::iter::once(first).chain(later).collect()
}

/// When a client's bucket was reset, or Redis lost what was lent.
pub fn refills(evidence: &Evidence<'_>, client: u32) -> Vec<u64> {
    let turns = evidence.log.turns.borrow();
    let resets = turns.get(&client).into_iter().flatten().filter_map(|(at, turn)| match turn {
        Turn::Reset(true, _) => Some(*at),
        _ => None,
    });
    resets.collect()
}

/// Whether the store decides requests of `client` one by one, in strict mode or because a bucket or the month holds few.
pub fn is_charged(evidence: &Evidence<'_>, client: u32) -> bool {
    /// The filter calls this many requests few.
    const FEW: u64 = 20;
    let store = evidence.plan.store;
    let dearest = evidence.planned(client).costs.iter().max().copied().unwrap_or(0);
    let holds_few = |tier: &Tier| {
        tier.rates.iter().any(|rate| rate.holds() < FEW * dearest)
            || tier.monthly.is_some_and(|units| units * 1_000 < FEW * dearest)
    };
    !store.is_local && (store.is_strict || tiers(evidence, client).iter().any(holds_few))
}

/// Refusals of a client that ignores them.
///
/// If a client comes again too early, ticks fetch its next lease, so that its requests do not cost a call each. Until then, for a
/// second at most, it is refused by the last refusal, though that may be over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusals {
    /// The last two refusals.
    refused: [Option<u64>; 2],
    /// When a request was last decided rightly.
    right: Option<u64>,
}

impl Refusals {
    /// Records the refusal of a request that came at `at`.
    pub const fn refused(&mut self, at: u64) {
        self.refused = [self.refused[1], Some(at)];
    }

    /// Records that a request at `at` was decided rightly.
    pub const fn was_right(&mut self, at: u64) {
        self.right = Some(at);
    }

    /// Whether a wrong refusal at `at` is excused.
    #[must_use]
    pub fn excuse(&self, at: u64) -> bool {
        let is_recent = |before: Option<u64>| before.is_some_and(|before| at.saturating_sub(before) < SECOND);
        is_recent(self.refused[0]) && is_recent(self.right)
    }
}
