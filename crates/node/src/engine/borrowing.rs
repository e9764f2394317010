//! Deciding with a store: from the lease while it lasts, by asking where it does not, without the store while it is away.
//!
//! ```text
//! consider ─▶ Decided(Answer): paid from the lease, refused until later, or decided without a store that is away
//!          └▶ Ask(Question): the request waits; settle decides it when the store has answered, or will not
//! ```

mod record;

use self::record::LocalVerdict;
use super::{Answer, AppliedTier, Engine, Outcome, Ruling};
use crate::borrower::{Borrower, Call, Seen, Subject, account_of, account_seen};
use crate::clock::Now;
use crate::identity::Caller;
use crate::request::{Gateway, Request};
use crate::table::{Change, SharedData, Updated};
use tollgate_core::account::{Account, Refusal, Verdict, decide_all};
use tollgate_core::client::{Client, ClientId, Network};
use tollgate_core::policy::{Enforcement, StoreMode};
use tollgate_core::terms::tag;
use tollgate_core::tier::OnFailure;
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_core::wire::Grant;

/// What was found out about a request without asking anybody.
#[derive(Debug)]
pub enum Considered<'a> {
    /// It is decided.
    Decided(Answer<'a>),
    /// The store has to be asked.
    Ask(Caller<'a>, Question),
}

/// A request that waits for the store.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its client.
    pub id: ClientId,
    /// Its client's name; none for an anonymous client.
    pub name: Option<Box<[u8]>>,
    /// The tier's place among the offers.
    pub offer: u8,
    /// What it costs.
    pub cost: Cost,
    /// Whether the store decides this one request and charges it, instead of lending what pays for it.
    pub is_charged: bool,
    /// Whose limits.
    under: AppliedTier,
}

impl Question {
    /// Whose limits.
    #[must_use]
    pub const fn under(&self) -> &AppliedTier {
        &self.under
    }

    /// Whose limits, now that the store has answered: with its answers come overrides.
    fn under_now(&self, borrower: &Borrower) -> AppliedTier {
        match (&self.under, borrower.overridden(&self.id)) {
            (AppliedTier::Tier(tier) | AppliedTier::Override(tier, _), Some(overridden)) => {
                AppliedTier::Override(*tier, overridden.clone())
            }
            (AppliedTier::Override(tier, _), None) => AppliedTier::Tier(*tier),
            (under, None) | (under @ AppliedTier::Anonymous, _) => under.clone(),
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject { id: self.id, name: self.name.as_deref(), offer: self.offer }
    }
}

/// What the store has said to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// An answer, or it is to be asked yet.
    Answered,
    /// Nothing in time, or nothing that can be read, though it is not known to be away.
    Silent,
    /// That it is away from this client's account, or it is known to be away itself.
    Away,
}

impl Engine {
    /// Decides about `request`, as far as the node can by itself; none where the policy is off.
    pub fn consider<'a, G: Gateway>(
        &self,
        request: &Request<'a, G>,
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
    ) -> Option<Considered<'a>> {
        if self.policy.enforcement == Enforcement::Off {
            return None;
        }
        let namespace = self.namespace.as_ref()?;
        let caller = self.identities.caller(request);
        let cost = self.cost(request);
        if cost == Cost::FREE {
            return Some(Considered::Decided(Answer { caller, ruling: None }));
        }
        let client = caller.client(request);
        let id = borrower.id(namespace, &client);
        let last = u8::try_from(self.policy.tiers.len()).unwrap_or(u8::MAX);
        let (name, offer, under): (Option<&[u8]>, _, _) = match &caller {
            Caller::Consumer { name, tier } => {
                let under = match borrower.overridden(&id) {
                    Some(overridden) => AppliedTier::Override(*tier, overridden.clone()),
                    None => AppliedTier::Tier(*tier),
                };
                (Some(name), u8::try_from(tier.0).unwrap_or(last), under)
            }
            Caller::Anonymous => (None, last, AppliedTier::Anonymous),
        };
        let subject = Subject { id, name, offer };
        let is_away = borrower.is_store_away();
        let is_strict = self.policy.store.as_ref().is_some_and(|store| store.mode == StoreMode::Strict);
        let network = match client {
            Client::Anonymous(network) => Some(network),
            Client::Consumer(_) => None,
        };
        let network = || network.unwrap_or_else(|| crate::identity::peer(request.gateway));
        if !is_strict || is_away {
            let reply = if is_away { StoreReply::Away } else { StoreReply::Answered };
            let ruling = self.rule_by_record(&subject, &under, cost, data, borrower, times, reply, &network);
            if let Some(ruling) = ruling {
                return Some(Considered::Decided(Answer { caller, ruling: Some(ruling) }));
            }
        }
        let is_charged = is_strict || self.tier(&under).holds_few(cost);
        let question = Question { id, name: name.map(Into::into), offer, cost, is_charged, under };
        Some(Considered::Ask(caller, question))
    }

    /// The message that asks for `question`: of those that wait with it, the cheapest needs `need`, and all others `queued`.
    pub fn ask(
        &self,
        question: &Question,
        (need, queued): (Cost, Cost),
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
    ) -> Option<Call> {
        let tier = self.tier(&question.under);
        borrower.ask(&self.table, data, &question.subject(), tier, need, queued, times)
    }

    /// The message that has the store decide about `question` and charge it.
    pub fn ask_charge(
        &self,
        question: &Question,
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
    ) -> Call {
        let tier = self.tier(&question.under);
        borrower.ask_charge(&self.table, data, &question.subject(), tier, question.cost, times)
    }

    /// Decides about a request whose question was answered; none: another request was faster, and it has to ask again.
    /// Unless the store was heard it is decided without it.
    pub fn settle(
        &self,
        question: &Question,
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
        reply: StoreReply,
        network: &dyn Fn() -> Network,
    ) -> Option<Ruling> {
        let under = question.under_now(borrower);
        let reply = if borrower.is_store_away() { StoreReply::Away } else { reply };
        self.rule_by_record(&question.subject(), &under, question.cost, data, borrower, times, reply, network)
    }

    /// A request that the store has answered, and whose answers others were faster to spend: it is neither paid for nor
    /// refused, and to let it through would be one too many. Where the policy wants that all the same, it is owed.
    pub fn decide_overtaken(
        &self,
        question: &Question,
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
        network: &dyn Fn() -> Network,
    ) -> Ruling {
        let is_open = self.on_failure(self.tier(&question.under)) == OnFailure::Open;
        let passed = is_open
            .then(|| self.settle(question, data, borrower, times, StoreReply::Away, network))
            .flatten();
        passed.unwrap_or_else(|| unknown(&question.under, times.unix))
    }

    /// Remembers what the store has said to a request that it has decided: until when it would refuse another one, and
    /// where the client stands, should the store be away.
    pub fn record_charge(
        &self,
        question: &Question,
        grant: &Grant,
        data: &impl SharedData,
        borrower: &Borrower,
        seen: Seen,
    ) {
        let under = question.under_now(borrower);
        let tier = self.tier(&under);
        let client = self.table.fingerprint_of(question.id, question.name.is_none());
        self.table.update(data, client, tier, seen.times, |mut state| {
            state.turn_to(seen.times.unix);
            state.lease.offer = question.offer;
            state.lease.come_under(tag(tier));
            state.lease.apply_charge(grant.refusal.as_ref(), question.cost, seen.times.millis());
            let since = state.lease.owed();
            state.account = account_seen(grant, &state.account, since, tier, seen);
            (Change::Write(state), ())
        });
    }

    /// What the store has decided about a request that asked for itself (`strict`).
    #[must_use]
    pub fn charged(&self, question: &Question, grant: &Grant, borrower: &Borrower, times: Now) -> Ruling {
        let under = question.under_now(borrower);
        let account = account_of(grant, self.tier(&under), times.unix);
        let ruling = ruling_under(&under, account, times.unix);
        match grant.refusal {
            None => ruling,
            Some(refusal) => {
                let until = times.unix.after(refusal.wait.nanos());
                self.refused(ruling, Refusal { limits: refusal.limits, month: refusal.month, until })
            }
        }
    }

    /// The first try and the last: what the client's record, and without a store its own bucket, say.
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "everything that one decision depends on")]
    fn rule_by_record(
        &self,
        subject: &Subject<'_>,
        under: &AppliedTier,
        cost: Cost,
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
        reply: StoreReply,
        network: &dyn Fn() -> Network,
    ) -> Option<Ruling> {
        let tier = self.tier(under);
        let client = self.table.fingerprint_of(subject.id, subject.name.is_none());
        let failure = match (reply, self.on_failure(tier)) {
            (StoreReply::Answered, _) => None,
            // One lost reply does not make a store that is away: the other nodes go on spending what it lends, and this
            // one would let through what is theirs.
            (StoreReply::Silent, OnFailure::Local | OnFailure::Ip)
                if self.policy.enforcement == Enforcement::Enforce =>
            {
                Some(OnFailure::Closed)
            }
            (_, failure) => Some(failure),
        };
        // While many requests are refused here, the tick asks for them.
        let is_pressed = !tier.holds_few(cost) && borrower.is_pressed(&subject.id, times.millis());
        let updated = self.table.update(data, client, tier, times, |mut state| {
            state.lease.offer = subject.offer;
            let found =
                record::decide(&mut state, tier, cost, times, failure, is_pressed, subject.name.is_none());
            let change = match found {
                LocalVerdict::Paid(..) | LocalVerdict::Without(_) => Change::Write(state),
                _ => Change::Keep,
            };
            (change, found)
        });
        let found = match updated {
            Updated::Done { answer } => answer,
            Updated::Unknown => return Some(unknown(under, times.unix)),
        };
        Some(match found {
            LocalVerdict::Ask => return None,
            LocalVerdict::Paid(account, left) => {
                borrower.record_request(subject, cost, false, left, times.millis());
                ruling_under(under, account, times.unix)
            }
            LocalVerdict::Without(account) => {
                borrower.record_request(subject, cost, false, None, times.millis());
                Ruling { outcome: Outcome::Fallback, ..ruling_under(under, account, times.unix) }
            }
            LocalVerdict::Refused(account, refusal) => {
                borrower.record_request(subject, cost, true, None, times.millis());
                self.refused(ruling_under(under, account, times.unix), refusal)
            }
            LocalVerdict::Closed => unknown(under, times.unix),
            LocalVerdict::ByNetwork => {
                self.rule_by_network(subject, under, cost, data, borrower, times, &network())
            }
        })
    }

    /// `on_failure: ip`: the consumer is limited as an anonymous client of its network is, and what it is let through counts as its
    /// own.
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "everything that one decision depends on")]
    fn rule_by_network(
        &self,
        subject: &Subject<'_>,
        under: &AppliedTier,
        cost: Cost,
        data: &impl SharedData,
        borrower: &mut Borrower,
        times: Now,
        network: &Network,
    ) -> Ruling {
        let tier = &self.policy.anonymous;
        // The same record as that of anonymous clients who come from there.
        let Some(namespace) = &self.namespace else { return unknown(under, times.unix) };
        let client = self.table.fingerprint_of(namespace.id(&Client::Anonymous(*network)), true);
        let updated = self.table.update(data, client, tier, times, |mut state| {
            let verdict = decide_all(&mut state.account, tier, cost, times.unix);
            let change = if verdict == Verdict::Allowed { Change::Write(state) } else { Change::Keep };
            (change, (verdict, state.account))
        });
        match updated {
            Updated::Done { answer: (Verdict::Allowed, account), .. } => {
                let consumer = self.table.fingerprint_of(subject.id, false);
                let owed = self.table.update(data, consumer, self.tier(under), times, |mut state| {
                    state.turn_to(times.unix);
                    state.lease.owe(cost, times.millis());
                    record::charge(&mut state, self.tier(under), cost, times.unix);
                    (Change::Write(state), ())
                });
                borrower.record_request(subject, cost, false, None, times.millis());
                if owed == Updated::Unknown {
                    return unknown(under, times.unix);
                }
                Ruling {
                    outcome: Outcome::Fallback,
                    ..ruling_under(&AppliedTier::Anonymous, account, times.unix)
                }
            }
            Updated::Done { answer: (Verdict::NotNow(refusal), account), .. } => {
                self.refused(ruling_under(&AppliedTier::Anonymous, account, times.unix), refusal)
            }
            Updated::Done { answer: (Verdict::Never, _), .. } | Updated::Unknown => {
                unknown(under, times.unix)
            }
        }
    }
}

fn ruling_under(under: &AppliedTier, account: Account, now: UnixNanos) -> Ruling {
    Ruling { under: under.clone(), outcome: Outcome::Allowed, account: Some(account), refusal: None, now }
}

fn unknown(under: &AppliedTier, now: UnixNanos) -> Ruling {
    Ruling { outcome: Outcome::Error, account: None, ..ruling_under(under, Account::default(), now) }
}

// They lend from the store's accounts, which no build for wasm32 has.
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests;
