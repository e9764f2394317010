//! Decisions with a store: from the lease while it lasts, by asking the store when it does not, and without the store while
//! it is away.
//!
//! ```text
//! consider ─▶ Decided(Answer): paid from the lease, refused until later, or decided without a store that is away
//!          └▶ Ask(Question): the request waits; decide_waiting decides it when the store has answered, or will not
//! ```

pub(super) mod record;

use tollgate_core::account::{Account, Refusal, Verdict, decide_all};
use tollgate_core::client::{Client, ClientId, Network};
use tollgate_core::limit::Month;
use tollgate_core::policy::{Enforcement, StoreMode};
use tollgate_core::price::Price;
use tollgate_core::terms::tag;
use tollgate_core::tier::OnFailure;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire::Grant;

use self::record::LocalVerdict;
use super::settling::{By, Charged};
use super::{Answer, AppliedTier, Engine, Outcome, Ruling};
use crate::borrower::{Borrower, Call, Seen, Subject, account_of, account_seen};
use crate::clock::Now;
use crate::identity::Caller;
use crate::lease::Demand;
use crate::request::{Gateway, Request};
use crate::table::{Change, Records, SharedData, Updated};

/// What one step of a worker decides with.
#[derive(Debug)]
pub struct Worker<'a, S> {
    /// The node's shared data.
    pub data: &'a S,
    /// What the worker remembers of its clients and of the store.
    pub borrower: &'a mut Borrower,
    /// The moment of the step.
    pub now: Now,
}

/// What the node can say about a request without asking the store.
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
    /// Its client's name; `None` for an anonymous client.
    pub name: Option<Box<[u8]>>,
    /// The tier's place among the offers.
    pub offer: u8,
    /// What it costs.
    pub cost: Cost,
    /// Whether the upstream's response may say what it costs in the end.
    settles: bool,
    /// Whether the store decides this request itself and charges it, instead of lending what pays for it.
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

    /// Whose limits, now that the store has answered: its answers bring overrides.
    fn under_now(&self, borrower: &Borrower) -> AppliedTier {
        match (&self.under, borrower.overridden(&self.id)) {
            (AppliedTier::Tier(tier) | AppliedTier::Override(tier, _), Some(overridden)) => {
                AppliedTier::Override(*tier, overridden.clone())
            }
            (AppliedTier::Override(tier, _), None) => AppliedTier::Tier(*tier),
            (under, None) | (under @ AppliedTier::Anonymous, _) => under.clone(),
        }
    }

    const fn price(&self) -> Price {
        Price { cost: self.cost, settles: self.settles }
    }

    /// The client that it is about.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject { id: self.id, name: self.name.as_deref(), offer: self.offer }
    }
}

/// How the store has replied to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// It has answered, or is still to be asked.
    Answered,
    /// Nothing came in time, or nothing readable, though the store is not known to be away.
    Silent,
    /// The store cannot reach this client's account, or is known to be away itself.
    Away,
}

impl Engine {
    /// The table's records at `worker`'s step.
    const fn records<'a, S>(&'a self, worker: &Worker<'a, S>) -> Records<'a, S> {
        Records { table: &self.table, data: worker.data, now: worker.now }
    }

    /// Decides about `request`, as far as the node can by itself; `None` if the policy is off.
    pub fn consider<'a, G: Gateway>(
        &self,
        request: &Request<'a, G>,
        worker: &mut Worker<'_, impl SharedData>,
    ) -> Option<Considered<'a>> {
        if self.policy.enforcement == Enforcement::Off {
            return None;
        }
        let namespace = self.namespace.as_ref()?;
        let caller = self.identities.caller(request);
        let price @ Price { cost, settles } = self.price(request);
        if cost == Cost::FREE {
            return Some(Considered::Decided(Answer { caller, ruling: None }));
        }
        let client = caller.client(request);
        let id = worker.borrower.id(namespace, &client);
        let last = u8::try_from(self.policy.tiers.len()).unwrap_or(u8::MAX);
        let (name, offer, under): (Option<&[u8]>, _, _) = match &caller {
            Caller::Consumer { name, tier } => {
                let under = match worker.borrower.overridden(&id) {
                    Some(overridden) => AppliedTier::Override(*tier, overridden.clone()),
                    None => AppliedTier::Tier(*tier),
                };
                (Some(name), u8::try_from(tier.0).unwrap_or(last), under)
            }
            Caller::Anonymous => (None, last, AppliedTier::Anonymous),
        };
        let subject = Subject { id, name, offer };
        let is_away = worker.borrower.is_store_away();
        let is_strict = self.policy.store.as_ref().is_some_and(|store| store.mode == StoreMode::Strict);
        let network = match client {
            Client::Anonymous(network) => Some(network),
            Client::Consumer(_) => None,
        };
        let network = || network.unwrap_or_else(|| crate::identity::peer(request.gateway));
        if !is_strict || is_away {
            let reply = if is_away { StoreReply::Away } else { StoreReply::Answered };
            let ruling = self.decide_by_record(&subject, &under, cost, worker, reply, &network);
            if let Some(mut ruling) = ruling {
                self.note_charge_of(&mut ruling, &subject, &under, price, worker, By::Node);
                return Some(Considered::Decided(Answer { caller, ruling: Some(ruling) }));
            }
        }
        let is_charged = is_strict || self.tier(&under).holds_few(cost);
        let question = Question { id, name: name.map(Into::into), offer, cost, settles, is_charged, under };
        Some(Considered::Ask(caller, question))
    }

    /// The message that borrows for `question` and for the requests that wait with it, of which `demand` tells.
    pub fn ask(
        &self,
        question: &Question,
        demand: Demand,
        worker: &mut Worker<'_, impl SharedData>,
    ) -> Option<Call> {
        let tier = self.tier(&question.under);
        let records = self.records(worker);
        worker.borrower.ask(&records, &question.subject(), tier, demand)
    }

    /// The message that has the store decide about `question` and charge it.
    pub fn ask_charge(&self, question: &Question, worker: &mut Worker<'_, impl SharedData>) -> Call {
        let tier = self.tier(&question.under);
        let records = self.records(worker);
        worker.borrower.ask_charge(&records, &question.subject(), tier, question.cost)
    }

    /// Decides about a request whose question was answered, or without the store where it was not. `None` means that
    /// another request has spent what came, so that this one has to ask again.
    pub fn decide_waiting(
        &self,
        question: &Question,
        worker: &mut Worker<'_, impl SharedData>,
        reply: StoreReply,
        network: &dyn Fn() -> Network,
    ) -> Option<Ruling> {
        let under = question.under_now(worker.borrower);
        let reply = if worker.borrower.is_store_away() { StoreReply::Away } else { reply };
        let subject = question.subject();
        let mut ruling = self.decide_by_record(&subject, &under, question.cost, worker, reply, network)?;
        self.note_charge_of(&mut ruling, &subject, &under, question.price(), worker, By::Node);
        Some(ruling)
    }

    fn note_charge_of(
        &self,
        ruling: &mut Ruling,
        subject: &Subject<'_>,
        under: &AppliedTier,
        price: Price,
        worker: &Worker<'_, impl SharedData>,
        by: By,
    ) {
        let client = || self.table.fingerprint_of(subject.id, subject.is_anonymous());
        let (name, offer) = (subject.name, subject.offer);
        let who = Charged { client, name, offer, under, returned: Cost(0), by };
        self.note_charge(ruling, who, price, worker.now);
    }

    /// Decides about a request that the store has answered, but whose answers other requests were faster to spend. It is
    /// neither paid for nor refused, and to let it through could be one too many. Where the policy wants that all the same,
    /// its cost is owed.
    pub fn decide_overtaken(
        &self,
        question: &Question,
        worker: &mut Worker<'_, impl SharedData>,
        network: &dyn Fn() -> Network,
    ) -> Ruling {
        let is_open = self.on_failure(self.tier(&question.under)) == OnFailure::Open;
        let passed =
            is_open.then(|| self.decide_waiting(question, worker, StoreReply::Away, network)).flatten();
        passed.unwrap_or_else(|| {
            let mut ruling = unknown(&question.under, worker.now.unix);
            let (subject, under) = (question.subject(), &question.under);
            self.note_charge_of(&mut ruling, &subject, under, question.price(), worker, By::Node);
            ruling
        })
    }

    /// Remembers what the store has said to a request that it has decided itself: until when it would refuse another one,
    /// and where the client stands, in case the store goes away. `took` is how long the answer took.
    pub fn record_charge(
        &self,
        question: &Question,
        grant: &Grant,
        worker: &Worker<'_, impl SharedData>,
        took: Millis,
    ) {
        let under = question.under_now(worker.borrower);
        let tier = self.tier(&under);
        let client = self.table.fingerprint_of(question.id, question.name.is_none());
        let (now, seen) = (worker.now, Seen { now: worker.now, took });
        self.records(worker).update(client, |mut state| {
            state.turn_to(now.unix);
            state.lease.offer = question.offer;
            state.lease.come_under(tag(tier));
            state.lease.apply_charge(grant.refusal.as_ref(), question.cost, now.millis());
            let since = state.lease.owed();
            state.turn_back_to(now.unix);
            state.turn_to(Month(grant.month).start());
            state.account = account_seen(grant, &state.account, since, tier, seen);
            (Change::Write(state), ())
        });
    }

    /// What the store has decided about a request that it has charged or refused itself.
    #[must_use]
    pub fn charged(
        &self,
        question: &Question,
        grant: &Grant,
        worker: &Worker<'_, impl SharedData>,
    ) -> Ruling {
        let now = worker.now;
        let under = question.under_now(worker.borrower);
        let account = account_of(grant, self.tier(&under), now.unix);
        let mut ruling = ruling_under(&under, account, now.unix);
        if let Some(refusal) = grant.refusal {
            let until = now.unix.after(refusal.wait.nanos());
            let refusal = Refusal { limits: refusal.limits, month: refusal.month, until };
            ruling = self.refused(ruling, refusal);
        }
        let price = question.price();
        self.note_charge_of(&mut ruling, &question.subject(), &under, price, worker, By::Store);
        ruling
    }

    /// What the client's record says, and without a store its own bucket: a request's first decision and its last one.
    #[inline(never)]
    fn decide_by_record(
        &self,
        subject: &Subject<'_>,
        under: &AppliedTier,
        cost: Cost,
        worker: &mut Worker<'_, impl SharedData>,
        reply: StoreReply,
        network: &dyn Fn() -> Network,
    ) -> Option<Ruling> {
        let now = worker.now;
        let tier = self.tier(under);
        let client = self.table.fingerprint_of(subject.id, subject.is_anonymous());
        let failure = match (reply, self.on_failure(tier)) {
            (StoreReply::Answered, _) => None,
            // One lost reply does not mean that the store is away. The other nodes go on spending what it lends them, and
            // this one would let through what is theirs.
            (StoreReply::Silent, OnFailure::Local | OnFailure::Ip)
                if self.policy.enforcement == Enforcement::Enforce =>
            {
                Some(OnFailure::Closed)
            }
            (_, failure) => Some(failure),
        };
        // While many requests are refused here, the tick asks on their behalf.
        let is_pressed = !tier.holds_few(cost) && worker.borrower.is_pressed(&subject.id, now.millis());
        let updated = self.records(worker).update(client, |mut state| {
            state.lease.offer = subject.offer;
            let found =
                record::decide(&mut state, tier, cost, now, failure, is_pressed, subject.is_anonymous());
            let change = match found {
                LocalVerdict::Paid(..) | LocalVerdict::Without(_) => Change::Write(state),
                _ => Change::Keep,
            };
            (change, found)
        });
        let found = match updated {
            Updated::Done { answer } => answer,
            Updated::Unknown => return Some(unknown(under, now.unix)),
        };
        Some(match found {
            LocalVerdict::Ask => return None,
            LocalVerdict::Paid(account, left) => {
                worker.borrower.record_request(subject, cost, false, left, now.millis());
                ruling_under(under, account, now.unix)
            }
            LocalVerdict::Without(account) => {
                worker.borrower.record_request(subject, cost, false, None, now.millis());
                Ruling { outcome: Outcome::Fallback, ..ruling_under(under, account, now.unix) }
            }
            LocalVerdict::Refused(account, refusal) => {
                worker.borrower.record_request(subject, cost, true, None, now.millis());
                self.refused(ruling_under(under, account, now.unix), refusal)
            }
            LocalVerdict::Closed => unknown(under, now.unix),
            LocalVerdict::ByNetwork => self.decide_by_network(subject, under, cost, worker, &network()),
        })
    }

    /// `on_failure: ip`: the consumer is limited as an anonymous client of its network is, and its requests still count as
    /// its own.
    #[inline(never)]
    fn decide_by_network(
        &self,
        subject: &Subject<'_>,
        under: &AppliedTier,
        cost: Cost,
        worker: &mut Worker<'_, impl SharedData>,
        network: &Network,
    ) -> Ruling {
        let now = worker.now;
        let tier = &self.policy.anonymous;
        // Anonymous clients of that network share this record.
        let Some(namespace) = &self.namespace else { return unknown(under, now.unix) };
        let client = self.table.fingerprint_of(namespace.id(&Client::Anonymous(*network)), true);
        let updated = self.records(worker).update(client, |mut state| {
            let verdict = decide_all(&mut state.account, tier, cost, now.unix);
            let change = if verdict == Verdict::Allowed { Change::Write(state) } else { Change::Keep };
            (change, (verdict, state.account))
        });
        match updated {
            Updated::Done { answer: (Verdict::Allowed, account), .. } => {
                let consumer = self.table.fingerprint_of(subject.id, false);
                let owed = self.records(worker).update(consumer, |mut state| {
                    state.turn_to(now.unix);
                    state.lease.owe(cost, now.millis());
                    record::charge(&mut state, self.tier(under), cost, now.unix);
                    (Change::Write(state), ())
                });
                worker.borrower.record_request(subject, cost, false, None, now.millis());
                if owed == Updated::Unknown {
                    return unknown(under, now.unix);
                }
                Ruling {
                    outcome: Outcome::Fallback,
                    ..ruling_under(&AppliedTier::Anonymous, account, now.unix)
                }
            }
            Updated::Done { answer: (Verdict::NotNow(refusal), account), .. } => {
                self.refused(ruling_under(&AppliedTier::Anonymous, account, now.unix), refusal)
            }
            Updated::Done { answer: (Verdict::Never, _), .. } | Updated::Unknown => unknown(under, now.unix),
        }
    }
}

fn ruling_under(under: &AppliedTier, account: Account, now: UnixNanos) -> Ruling {
    Ruling {
        under: under.clone(),
        outcome: Outcome::Allowed,
        account: Some(account),
        refusal: None,
        now,
        charged: Cost(0),
        charge: None,
    }
}

fn unknown(under: &AppliedTier, now: UnixNanos) -> Ruling {
    Ruling { outcome: Outcome::Error, account: None, ..ruling_under(under, Account::default(), now) }
}

// The tests lend from the store's accounts, which no build for wasm32 has.
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests;
