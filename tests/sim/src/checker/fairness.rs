//! A client that keeps to its limit is not refused.
//!
//! At one gateway, no request is refused while buckets that were filled by what was let through have room for it, unless the
//! client ignores refusals. At several gateways, and paced at 80 % of the rate, fewer than one request in a thousand is refused.

use super::Evidence;
use super::limits::{Refusals, tiers};
use crate::log::{Shot, Verdict, Violation};
use crate::plan::{Habit, MILLISECOND, Place, Rate};

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    if !evidence.plan.claims.who_keeps_to_it_is_served {
        return None;
    }
    evidence.by_client.iter().find_map(|(client, shots)| {
        let planned = evidence.planned(*client);
        match (planned.place, planned.habit) {
            (Place::At(_), _) => with_room(evidence, *client, shots),
            (_, Habit::Paced { .. }) => often(*client, shots),
            _ => None,
        }
    })
}

/// A bucket as a plain sum, of thousandths times nanoseconds of the period.
struct Bucket {
    rate: Rate,
    level: i128,
    at: u64,
}

impl Bucket {
    fn period(&self) -> i128 {
        i128::from(self.rate.seconds) * 1_000_000_000
    }

    fn drains(&self, nanos: u64) -> i128 {
        i128::from(self.rate.units) * 1_000 * i128::from(nanos)
    }

    fn pass(&mut self, moment: u64) {
        self.level = (self.level - self.drains(moment - self.at)).max(0);
        self.at = moment;
    }

    /// Whether it would have room for `cost` even if it had drained for `early` less.
    fn has_room(&self, cost: u64, early: u64) -> bool {
        let after = self.level + i128::from(cost) * self.period() + self.drains(early);
        after <= i128::from(self.rate.holds()) * self.period()
    }
}

fn with_room(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> Option<Violation> {
    // A call's time, the steps of the clock, and the difference of clocks after a few seconds.
    let early = 2 * evidence.plan.network.most + evidence.plan.redis.delay + 8 * MILLISECOND;
    let tiers = tiers(evidence, client);
    let rates = tiers.iter().flat_map(|tier| &tier.rates);
    let mut buckets: Vec<Bucket> = rates.map(|rate| Bucket { rate: *rate, level: 0, at: 0 }).collect();
    // If requests come together, some are refused before others have got their answer. So what passes counts from the moment
    // at which it came.
    let came = |shot: &Shot| if shot.verdict.is_admitted() { shot.moment - shot.waited } else { shot.moment };
    let mut shots: Vec<&Shot> = shots.iter().collect();
    shots.sort_by_key(|shot| (came(shot), !shot.verdict.is_admitted()));
    let mut refusals = Refusals::default();
    for shot in shots {
        buckets.iter_mut().for_each(|bucket| bucket.pass(came(shot)));
        let has_room = buckets.iter().all(|bucket| bucket.has_room(shot.cost, early));
        if shot.verdict.is_admitted() {
            for bucket in &mut buckets {
                bucket.level += i128::from(shot.cost) * bucket.period();
            }
            refusals.was_right(came(shot));
            continue;
        }
        if !has_room {
            refusals.was_right(came(shot));
        } else if !refusals.excuse(came(shot)) {
            let what = format!("{:?}, though its buckets have room", shot.verdict);
            return Some(Violation { check: "refused_with_room", client: Some(client), at: shot.at, what });
        }
        refusals.refused(came(shot));
    }
    None
}

fn often(client: u32, shots: &[Shot]) -> Option<Violation> {
    let is_refused = |shot: &&Shot| matches!(shot.verdict, Verdict::Refused(_) | Verdict::Undecided(_));
    let refused = shots.iter().filter(is_refused).count();
    let last = shots.iter().rev().find(is_refused)?;
    if refused * 1_000 < shots.len().max(1_000) {
        return None;
    }
    let what = format!("{refused} of {} requests were refused at 80 % of the rate", shots.len());
    Some(Violation { check: "refused_at_80_percent", client: Some(client), at: last.at, what })
}
