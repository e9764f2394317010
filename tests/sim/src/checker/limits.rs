//! Which limits a client had, and from when to when nothing else interfered.

use super::Evidence;
use crate::log::Turn;
use crate::plan::{SECOND, Tier};

/// A time in which a client's limits stayed the same, by the store's clock.
#[derive(Clone, Debug)]
pub struct Spell {
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub until: u64,
    /// What held.
    pub tier: Tier,
}

/// All of a client's spells; between them nobody knows.
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

/// Every tier that a client ever had, at one gateway at least.
pub fn tiers(evidence: &Evidence<'_>, client: u32) -> Vec<Tier> {
    let first = evidence.plan.tiers[evidence.planned(client).tier].clone();
    let turns = evidence.log.turns.borrow();
    let later = turns.get(&client).into_iter().flatten().filter_map(|(_, turn)| match turn {
        Turn::Changing(tier) => Some(tier.clone()),
        _ => None,
    });
    std::iter::once(first).chain(later).collect()
}

/// When a client's bucket was made whole, or when Redis forgot what was lent.
pub fn refills(evidence: &Evidence<'_>, client: u32) -> Vec<u64> {
    let turns = evidence.log.turns.borrow();
    let resets = turns.get(&client).into_iter().flatten().filter_map(|(at, turn)| match turn {
        Turn::Reset(true, _) => Some(*at),
        _ => None,
    });
    resets.collect()
}

/// Whether the store decides requests of `client` one by one: in strict mode, and where a bucket or the month holds few.
pub fn is_charged(evidence: &Evidence<'_>, client: u32) -> bool {
    /// Of so many the filter's policy says that they are few.
    const FEW: u64 = 20;
    let store = evidence.plan.store;
    let dearest = evidence.planned(client).costs.iter().max().copied().unwrap_or(0);
    let holds_few = |tier: &Tier| {
        tier.rates.iter().any(|rate| rate.holds() < FEW * dearest)
            || tier.monthly.is_some_and(|units| units * 1_000 < FEW * dearest)
    };
    !store.is_local && (store.is_strict || tiers(evidence, client).iter().any(holds_few))
}

/// Refusals of a client that does not heed them.
///
/// Whoever comes again before it was told to has its next lease fetched by ticks, so that it does not cost a call with every
/// request: until then, for a second at most, it is refused by what was said last, though that may be over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusals {
    /// The last two.
    refused: [Option<u64>; 2],
    /// When a request was last let through, or refused for good reason.
    right: Option<u64>,
}

impl Refusals {
    /// A request that came at `at`, nanoseconds, was refused.
    pub const fn refused(&mut self, at: u64) {
        self.refused = [self.refused[1], Some(at)];
    }

    /// What became of a request at `at` was right.
    pub const fn was_right(&mut self, at: u64) {
        self.right = Some(at);
    }

    /// Whether a refusal at `at` that has no good reason is excused.
    #[must_use]
    pub fn excuse(&self, at: u64) -> bool {
        let is_recent = |before: Option<u64>| before.is_some_and(|before| at.saturating_sub(before) < SECOND);
        is_recent(self.refused[0]) && is_recent(self.right)
    }
}
