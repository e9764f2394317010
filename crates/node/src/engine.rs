//! The engine: the one module that knows in which order a request is decided.
//!
//! With a store, see [`borrowing`] and [`store_client`]. Without one, the order is
//! [`Identities::caller`] → [`Endpoints::price`] → [`Table::update`] around [`decide_all`] → [`Ruling`], from which [`headers`]
//! makes what the client sees.

pub mod borrowing;
pub mod settling;
pub mod store_client;

use std::sync::Arc;

use tollgate_core::account::{Account, Refusal, Verdict, decide_all};
use tollgate_core::client::Namespace;
use tollgate_core::headers::{self, Document, TierHeaders};
use tollgate_core::policy::{Enforcement, Policy, TierId};
use tollgate_core::price::Price;
use tollgate_core::tier::{OnFailure, Tier};
use tollgate_core::units::{Cost, UnixNanos};

use self::settling::{By, Charge, Charged};
use crate::borrower::Overridden;
use crate::endpoint::Endpoints;
use crate::identity::{Caller, Identities};
use crate::request::{Gateway, Request};
use crate::table::{Change, SharedData, Table, Updated};

/// A policy and the node's table, ready to decide.
#[derive(Clone, Debug)]
pub struct Engine {
    policy: Policy,
    identities: Identities,
    endpoints: Endpoints,
    table: Table,
    /// How clients are numbered for the store; `None` without one.
    namespace: Option<Namespace>,
    /// Whether every charge can be settled, and not only those that a response may settle.
    holds_charges: bool,
    /// The headers' unchanging parts, one per tier in their order; the anonymous clients' come last.
    texts: Vec<TierHeaders>,
}

/// What to do with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Who sent it.
    pub caller: Caller<'a>,
    /// What was decided; `None` for a request that costs nothing.
    pub ruling: Option<Ruling>,
}

/// The tier whose limits were applied to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppliedTier {
    /// A consumer's tier.
    Tier(TierId),
    /// The anonymous clients' limits.
    Anonymous,
    /// A consumer's own limits, as the store has told them, instead of this tier's.
    Override(TierId, Arc<Overridden>),
}

/// What was decided about a request that costs something. Its headers are made from this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whose limits were applied.
    pub under: AppliedTier,
    /// What was decided.
    pub outcome: Outcome,
    /// The client's account after the decision; `None` if it is not known.
    pub account: Option<Account>,
    /// Which limits refuse, if any do, even under a policy that only watches.
    pub refusal: Option<Refusal>,
    /// The decision's moment.
    pub now: UnixNanos,
    /// What was charged.
    pub charged: Cost,
    /// The charge, if the response may settle it.
    pub charge: Option<Box<Charge>>,
}

/// The outcome of a request; a label of the metric `requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Within its limits.
    Allowed,
    /// Refused by a rate.
    RefusedRate,
    /// Refused by the month's quota.
    RefusedMonth,
    /// Let through by a policy that only watches; another would have refused it.
    ShadowRefused,
    /// Decided without the store that should have been asked.
    Fallback,
    /// Could not be decided, so that the tier's `on_failure` applied.
    Error,
}

impl Outcome {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Allowed,
        Self::RefusedRate,
        Self::RefusedMonth,
        Self::ShadowRefused,
        Self::Fallback,
        Self::Error,
    ];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::RefusedRate => "refused_rate",
            Self::RefusedMonth => "refused_month",
            Self::ShadowRefused => "shadow_refused",
            Self::Fallback => "fallback",
            Self::Error => "error",
        }
    }
}

impl Engine {
    /// An engine for `policy` over the node's `table`.
    #[must_use]
    pub fn new(policy: Policy, table: Table) -> Self {
        let identities = Identities::new(&policy);
        let endpoints = Endpoints::new(&policy.endpoints, policy.default_cost);
        let texts = policy.tiers.iter().chain([&policy.anonymous]).map(TierHeaders::new).collect();
        let namespace = policy.store.is_some().then(|| Namespace::new(&policy.namespace));
        Self { policy, identities, endpoints, table, namespace, holds_charges: false, texts }
    }

    /// The same for a host that settles charges by itself.
    #[must_use]
    pub const fn holding_charges(mut self) -> Self {
        self.holds_charges = true;
        self
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The node's table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The tier of a ruling.
    #[must_use]
    pub fn tier<'a>(&'a self, under: &'a AppliedTier) -> &'a Tier {
        match under {
            AppliedTier::Tier(id) => self.policy.tier(*id),
            AppliedTier::Anonymous => &self.policy.anonymous,
            AppliedTier::Override(_, overridden) => &overridden.tier,
        }
    }

    /// Decides about `request` and charges it; `None` if the policy is off.
    pub fn decide<'a, G: Gateway>(
        &self,
        request: &Request<'a, G>,
        data: &impl SharedData,
        now: UnixNanos,
    ) -> Option<Answer<'a>> {
        if self.policy.enforcement == Enforcement::Off {
            return None;
        }
        let caller = self.identities.caller(request);
        let price = self.price(request);
        let ruling = (price.cost != Cost::FREE).then(|| self.rule(request, &caller, price, data, now));
        Some(Answer { caller, ruling })
    }

    /// What `request` costs: what its host says, or else what the policy does. The gateway is asked for the target only if
    /// that can make a difference.
    pub fn price<G: Gateway>(&self, request: &Request<'_, G>) -> Price {
        let by_target = || self.endpoints.price(request.method, &request.target());
        request.gateway.price().or_else(|| self.endpoints.only_price()).unwrap_or_else(by_target)
    }

    /// Whether a request of `cost` can ever be allowed under these limits. No price of a policy is too high for its tiers,
    /// but one that a host says may be.
    #[must_use]
    pub fn can_hold(&self, under: &AppliedTier, cost: Cost) -> bool {
        let tier = self.tier(under);
        tier.limits.iter().all(|limit| cost <= limit.capacity())
            && tier.monthly.is_none_or(|quota| cost <= quota)
    }

    fn rule<G: Gateway>(
        &self,
        request: &Request<'_, G>,
        caller: &Caller<'_>,
        price: Price,
        data: &impl SharedData,
        now: UnixNanos,
    ) -> Ruling {
        let under = match caller {
            Caller::Consumer { tier, .. } => AppliedTier::Tier(*tier),
            Caller::Anonymous => AppliedTier::Anonymous,
        };
        let mut ruling = Ruling {
            under: under.clone(),
            outcome: Outcome::Allowed,
            account: Some(Account::default()),
            refusal: None,
            now,
            charged: price.cost,
            charge: None,
        };
        let tier = self.tier(&under);
        if tier.is_unlimited() {
            return ruling;
        }
        let client = self.table.fingerprint(&self.policy.namespace, &caller.client(request));
        let updated = self.table.update(data, client, now, |mut state| {
            let verdict = decide_all(&mut state.account, tier, price.cost, now);
            let change = if verdict == Verdict::Allowed { Change::Write(state) } else { Change::Keep };
            (change, (verdict, state.account, state.lease.returns.counted()))
        });
        let (verdict, account, returned) = match updated {
            Updated::Done { answer } => answer,
            Updated::Unknown => return Ruling { outcome: Outcome::Error, account: None, ..ruling },
        };
        ruling.account = Some(account);
        match verdict {
            Verdict::Allowed => {}
            Verdict::NotNow(refusal) => ruling = self.refused(ruling, refusal),
            // No policy loads with a cost that a bucket never holds.
            Verdict::Never => ruling = Ruling { outcome: Outcome::Error, account: None, ..ruling },
        }
        let who =
            Charged { client: || client, name: None, offer: 0, under: &under, returned, by: By::NodeAlone };
        self.note_charge(&mut ruling, who, price, now.into());
        ruling
    }

    /// `ruling`, as a refusal.
    fn refused(&self, ruling: Ruling, refusal: Refusal) -> Ruling {
        let outcome = match (self.policy.enforcement, refusal.month) {
            (Enforcement::Shadow, _) => Outcome::ShadowRefused,
            (_, true) => Outcome::RefusedMonth,
            (_, false) => Outcome::RefusedRate,
        };
        Ruling { outcome, refusal: Some(refusal), charged: Cost(0), ..ruling }
    }

    /// Whether a ruling keeps its request from the upstream: then [`Self::document`] is the response.
    #[must_use]
    pub fn refuses(&self, ruling: &Ruling) -> bool {
        match (ruling.outcome, &ruling.refusal) {
            (Outcome::RefusedRate | Outcome::RefusedMonth, Some(_)) => true,
            (Outcome::Error, _) if self.policy.enforcement == Enforcement::Enforce => {
                self.on_failure(self.tier(&ruling.under)) != OnFailure::Open
            }
            _ => false,
        }
    }

    /// The response that a ruling gives instead of the upstream's; `None` lets the request pass.
    #[must_use]
    pub fn document(&self, ruling: &Ruling) -> Option<Document> {
        let tier = self.tier(&ruling.under);
        match (ruling.outcome, &ruling.refusal) {
            (Outcome::RefusedRate | Outcome::RefusedMonth, Some(refusal)) => {
                Some(headers::refused(tier, self.texts(&ruling.under)?, refusal, ruling.now))
            }
            (Outcome::Error, _) if self.policy.enforcement == Enforcement::Enforce => self.undecided(tier),
            _ => None,
        }
    }

    /// The one place that says what becomes of a request that could not be decided. Not to exceed a limit comes before not to
    /// refuse, so only a tier that asks for it is let through.
    fn undecided(&self, tier: &Tier) -> Option<Document> {
        match self.on_failure(tier) {
            OnFailure::Open => None,
            OnFailure::Closed => Some(headers::unavailable(tier, 503)),
            OnFailure::Local | OnFailure::Ip => Some(headers::unavailable(tier, 429)),
        }
    }

    /// What to do for `tier` when the store cannot be asked.
    fn on_failure(&self, tier: &Tier) -> OnFailure {
        let of_store = || self.policy.store.as_ref().map(|store| store.on_failure);
        tier.on_failure.or_else(of_store).unwrap_or_default()
    }

    /// Hands every response header of `ruling` to `emit`; `None` removes an upstream's copy.
    pub fn announce(&self, ruling: Option<&Ruling>, mut emit: impl FnMut(&'static str, Option<&[u8]>)) {
        self.announce_by(ruling, &mut emit);
    }

    /// One function for all kinds of `emit`, because the module has to stay small.
    #[inline(never)]
    fn announce_by(&self, ruling: Option<&Ruling>, emit: &mut dyn FnMut(&'static str, Option<&[u8]>)) {
        let families = self.policy.headers;
        let shown =
            ruling.and_then(|ruling| Some((ruling, ruling.account.as_ref()?, self.texts(&ruling.under)?)));
        if let Some((ruling, account, texts)) = shown {
            headers::announce(self.tier(&ruling.under), texts, account, ruling.now, families, emit);
            return;
        }
        if families.x_ratelimit {
            headers::X_RATELIMIT.into_iter().chain(headers::X_QUOTA).for_each(|name| emit(name, None));
        }
        if families.ietf {
            headers::IETF.into_iter().for_each(|name| emit(name, None));
        }
    }

    fn texts<'a>(&'a self, under: &'a AppliedTier) -> Option<&'a TierHeaders> {
        match under {
            AppliedTier::Tier(id) => self.texts.get(id.0),
            AppliedTier::Anonymous => self.texts.last(),
            AppliedTier::Override(_, overridden) => Some(&overridden.texts),
        }
    }
}

#[cfg(test)]
mod tests;
