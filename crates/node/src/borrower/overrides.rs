//! The overrides of consumers, as the store has told them.

use std::sync::Arc;

use tollgate_core::client::{ClientId, ClientMap, ClientSecret};
use tollgate_core::headers::TierHeaders;
use tollgate_core::policy::Policy;
use tollgate_core::terms::Offer;
use tollgate_core::tier::Tier;
use tollgate_core::units::Cost;
use tollgate_core::wire::{ChangeKind, Reply};

/// The most overrides that a worker keeps. Beyond that, the store still applies them when it is asked, but headers show the
/// tier.
const MOST: usize = 100_000;

/// What one consumer has instead of its tier.
#[derive(Clone, Debug)]
pub struct Overridden {
    /// The override, as a tier.
    pub tier: Tier,
    /// The unchanging parts of its headers.
    pub texts: TierHeaders,
}

impl PartialEq for Overridden {
    fn eq(&self, other: &Self) -> bool {
        self.tier == other.tier
    }
}

impl Eq for Overridden {}

/// All overrides, and their revision.
#[derive(Debug)]
pub struct Overrides {
    revision: u64,
    by_client: ClientMap<Arc<Overridden>>,
}

impl Overrides {
    /// No overrides yet.
    pub const fn new(secret: ClientSecret) -> Self {
        Self { revision: 0, by_client: ClientMap::with_hasher(secret) }
    }

    pub const fn revision(&self) -> u64 {
        self.revision
    }

    pub fn of(&self, id: &ClientId) -> Option<&Arc<Overridden>> {
        if self.by_client.is_empty() { None } else { self.by_client.get(id) }
    }

    /// Applies the changes in `reply`; returns the clients whose leases and refusals are void.
    pub fn apply(&mut self, policy: &Policy, reply: &Reply) -> Vec<ClientId> {
        if reply.revision < self.revision && !reply.is_whole {
            // This answer came late; a newer one had all that it has.
            return Vec::new();
        }
        let mut changed = Vec::new();
        if reply.is_whole {
            changed.extend(self.by_client.drain().map(|(id, _)| id));
        }
        for change in &reply.changes {
            changed.push(change.client);
            match &change.what {
                ChangeKind::Override(offer) => {
                    if let (Some(tier), true) = (tier_of(policy, offer), self.by_client.len() < MOST) {
                        let texts = TierHeaders::new(&tier);
                        self.by_client.insert(change.client, Arc::new(Overridden { tier, texts }));
                    }
                }
                ChangeKind::NoOverride => {
                    self.by_client.remove(&change.client);
                }
                ChangeKind::Reset => {}
            }
        }
        self.revision = reply.revision;
        changed
    }
}

/// The tier that `offer` describes; `None` if it cannot be one.
fn tier_of(policy: &Policy, offer: &Offer) -> Option<Tier> {
    offer.terms().ok()?;
    let named = policy.tier_named(&offer.tier).map(|id| policy.tier(id));
    Some(Tier {
        name: offer.tier.clone(),
        limits: offer.rates.iter().map(|rate| rate.limit().ok()).collect::<Option<_>>()?,
        monthly: offer.monthly.map(Cost::from_units),
        on_failure: named.and_then(|tier| tier.on_failure),
    })
}
