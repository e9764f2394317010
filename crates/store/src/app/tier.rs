//! The tiers of a namespace, as its gateways and applications send them.
//!
//! Tiers are defined in policies, and the store has only the operator's. It remembers the tiers in batches and checks,
//! so that an admin can give a consumer a tier by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_core::headers::TierHeaders;
use tollgate_core::terms::{Offer, OfferError, Terms};
use tollgate_core::tier::{ANONYMOUS, Tier};
use tollgate_core::units::Cost;

use super::name;

/// How many tiers of a namespace are remembered. A policy has at most 64, and several policies may share a namespace.
const MAX_TIERS: usize = 256;

/// A tier in all the forms that the store computes with.
#[derive(Debug)]
pub struct CompiledTier {
    /// The tier in messages.
    pub offer: Offer,
    /// Its name.
    pub name: Arc<str>,
    /// The terms that accounts compute with.
    pub terms: Arc<Terms>,
    /// The tier that headers are made of.
    pub tier: Tier,
    /// The constant parts of its headers.
    pub texts: TierHeaders,
}

impl CompiledTier {
    /// Compiles `offer`.
    ///
    /// # Errors
    /// Its numbers are too large to compute with.
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
    /// The names of the operator's own tiers. Other tiers with these names are not remembered.
    fixed: BTreeSet<String>,
    /// Whether the backend's document lacks some of the tiers.
    is_unsaved: bool,
}

impl Tiers {
    /// The tier of `offer`. It is compiled if the known tier with its name is another one. `None` if it cannot be a
    /// tier.
    #[must_use]
    pub fn find(&self, offer: &Offer) -> Option<Arc<CompiledTier>> {
        match self.by_name.get(&offer.tier) {
            Some(known) if known.offer == *offer => Some(Arc::clone(known)),
            _ if name::is_tier(&offer.tier) => CompiledTier::of(offer).ok().map(Arc::new),
            _ => None,
        }
    }

    /// Whether `tier` differs from the known tier with its name.
    #[must_use]
    pub fn is_news(&self, tier: &CompiledTier) -> bool {
        match self.by_name.get(&tier.offer.tier) {
            Some(known) => known.offer != tier.offer && !self.fixed.contains(&tier.offer.tier),
            None => self.by_name.len() < MAX_TIERS,
        }
    }

    /// Remembers `tier`.
    pub fn learn(&mut self, tier: &Arc<CompiledTier>) {
        if self.is_news(tier) {
            self.by_name.insert(tier.offer.tier.clone(), Arc::clone(tier));
            self.is_unsaved = true;
        }
    }

    /// Makes `tiers` the operator's tiers. Others cannot replace them.
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

    /// The tier called `name`, if a consumer can be given it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<CompiledTier>> {
        self.by_name.get(name).filter(|_| name != ANONYMOUS)
    }

    /// The names of the tiers that a consumer can be given, such as `free, pro`.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> =
            self.by_name.keys().map(String::as_str).filter(|name| *name != ANONYMOUS).collect();
        names.join(", ")
    }

    /// Adds the tiers in the backend's `document` that are not known here.
    ///
    /// # Errors
    /// The document cannot be read.
    pub fn merge(&mut self, document: &[u8]) -> Result<(), serde_json::Error> {
        let offers: Vec<Offer> = serde_json::from_slice(document)?;
        for offer in &offers {
            if let (None, Some(tier)) = (self.by_name.get(&offer.tier), self.find(offer)) {
                self.by_name.insert(offer.tier.clone(), tier);
            }
        }
        Ok(())
    }

    /// The document to write to the backend, or `None` if the backend has it. It counts as written from now on.
    pub fn unsaved(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_unsaved) {
            return None;
        }
        let offers: Vec<&Offer> = self.by_name.values().map(|known| &known.offer).collect();
        serde_json::to_vec(&offers).ok()
    }

    /// The document was not written after all.
    pub const fn not_saved(&mut self) {
        self.is_unsaved = true;
    }
}
