//! The tiers of a namespace, as its gateways and applications tell of them.
//!
//! Tiers stand in policies, of which the store has those alone that its operator gives it. What a batch or a check offers
//! is remembered, so that an admin can give a consumer a tier by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_core::headers::TierHeaders;
use tollgate_core::terms::{Offer, OfferError, Terms};
use tollgate_core::tier::{ANONYMOUS, Tier};
use tollgate_core::units::Cost;

use super::name;

/// Tiers that are remembered of a namespace; a policy has 64 at most, and several policies may share one namespace.
const MAX_TIERS: usize = 256;

/// A tier in all the forms that are computed with.
#[derive(Debug)]
pub struct CompiledTier {
    /// As it goes over the wire.
    pub offer: Offer,
    /// Its name.
    pub name: Arc<str>,
    /// As accounts compute.
    pub terms: Arc<Terms>,
    /// As headers speak of it.
    pub tier: Tier,
    /// The parts of its headers that never change.
    pub texts: TierHeaders,
}

impl CompiledTier {
    /// The tier of `offer`.
    ///
    /// # Errors
    /// That it cannot be computed with.
    pub fn of(offer: &Offer) -> Result<Self, OfferError> {
        let terms = offer.terms()?;
        let tier = Tier {
            name: offer.tier.clone(),
            limits: offer.rates.iter().map(tollgate_core::terms::Rate::limit).collect::<Result<_, _>>()?,
            monthly: offer.monthly.map(Cost::from_units),
            on_failure: None,
        };
        Ok(Self {
            offer: offer.clone(),
            name: offer.tier.as_str().into(),
            terms: Arc::new(terms),
            texts: TierHeaders::new(&tier),
            tier,
        })
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Tiers {
    by_name: BTreeMap<String, Arc<CompiledTier>>,
    /// Those of the operator's own policy: what others tell of these names changes nothing here.
    fixed: BTreeSet<String>,
    /// Whether the backend's document does not have all of it.
    is_unsaved: bool,
}

impl Tiers {
    /// The tier that `offer` is; made if it is not the one known by that name. None if it cannot be one.
    #[must_use]
    pub fn find(&self, offer: &Offer) -> Option<Arc<CompiledTier>> {
        match self.by_name.get(&offer.tier) {
            Some(known) if known.offer == *offer => Some(Arc::clone(known)),
            _ if name::is_tier(&offer.tier) => CompiledTier::of(offer).ok().map(Arc::new),
            _ => None,
        }
    }

    /// Whether `tier` is not what is known by its name.
    #[must_use]
    pub fn is_news(&self, tier: &CompiledTier) -> bool {
        match self.by_name.get(&tier.offer.tier) {
            Some(known) => known.offer != tier.offer && !self.fixed.contains(&tier.offer.tier),
            None => self.by_name.len() < MAX_TIERS,
        }
    }

    /// Remembers `tier` by its name.
    pub fn learn(&mut self, tier: &Arc<CompiledTier>) {
        if self.is_news(tier) {
            self.by_name.insert(tier.offer.tier.clone(), Arc::clone(tier));
            self.is_unsaved = true;
        }
    }

    /// Takes `tiers` for those of the operator's policy, whatever others tell of their names.
    pub fn fix(&mut self, tiers: &[Arc<CompiledTier>]) {
        self.fixed.clear();
        for tier in tiers {
            let is_new = self.by_name.get(&tier.offer.tier).is_none_or(|known| known.offer != tier.offer);
            if is_new {
                self.by_name.insert(tier.offer.tier.clone(), Arc::clone(tier));
                self.is_unsaved = true;
            }
            self.fixed.insert(tier.offer.tier.clone());
        }
    }

    /// The tier called `name` that a consumer can be given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<CompiledTier>> {
        self.by_name.get(name).filter(|_| name != ANONYMOUS)
    }

    /// `free, pro`: what a consumer can be given.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> =
            self.by_name.keys().map(String::as_str).filter(|name| *name != ANONYMOUS).collect();
        names.join(", ")
    }

    /// Adds those of the backend's `document` that are not known here.
    ///
    /// # Errors
    /// That it is not one.
    pub fn merge(&mut self, document: &[u8]) -> Result<(), serde_json::Error> {
        let offers: Vec<Offer> = serde_json::from_slice(document)?;
        for offer in &offers {
            if let (None, Some(tier)) = (self.by_name.get(&offer.tier), self.find(offer)) {
                self.by_name.insert(offer.tier.clone(), tier);
            }
        }
        Ok(())
    }

    /// What to write to the backend; none if it has it. It is taken to be written.
    pub fn unsaved(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_unsaved) {
            return None;
        }
        let offers: Vec<&Offer> = self.by_name.values().map(|known| &known.offer).collect();
        serde_json::to_vec(&offers).ok()
    }

    /// It was not written after all.
    pub const fn not_saved(&mut self) {
        self.is_unsaved = true;
    }
}
