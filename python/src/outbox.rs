//! What a node wants of Python: calls to the store, and what was decided about requests that have waited.
//!
//! Requests that come in one turn of the event loop share a message, since a call takes Python longer than anything else here.

use hashbrown::{HashMap, HashSet};
use tollgate_core::client::ClientId;
use tollgate_core::units::Millis;
use tollgate_core::wire::{Batch, Reply};

use crate::decision::Decision;

/// The most entries in a message that requests share: its reply is taken in at once, and the event loop waits for that.
const MOST_SHARED: usize = 64;

/// What Python has not taken yet.
#[derive(Default)]
pub struct Outbox {
    /// Decisions about requests that have waited.
    pub decisions: Vec<(u32, Decision)>,
    /// What an operator should know.
    pub events: Vec<&'static str>,
    wanted: Vec<Wanted>,
    last_call: u32,
    /// The calls that Python makes: for whom, and how many answers each expects.
    under_way: HashMap<u32, Vec<(Option<u32>, usize)>>,
}

/// A call that the store client wants.
struct Wanted {
    /// The request that it is for; none: the node itself.
    request: Option<u32>,
    batch: Batch,
    timeout: Millis,
}

/// A message that several calls share.
struct Shared {
    batch: Batch,
    timeout: Millis,
    clients: HashSet<ClientId>,
    parts: Vec<(Option<u32>, usize)>,
}

impl Shared {
    fn new(wanted: Wanted) -> Self {
        let Wanted { request, batch, timeout } = wanted;
        let clients = batch.entries.iter().map(|entry| entry.client).collect();
        let parts = vec![(request, batch.entries.len())];
        Self { batch, timeout, clients, parts }
    }

    /// Takes `wanted` in, or gives it back. Nobody's time is cut short, and no message has two requests' entries of one client.
    fn join(&mut self, wanted: Wanted) -> Option<Wanted> {
        let (ours, theirs) = (&self.batch, &wanted.batch);
        let is_same = self.timeout == wanted.timeout
            && (ours.node, ours.revision) == (theirs.node, theirs.revision)
            && ours.namespace == theirs.namespace
            && ours.offers == theirs.offers;
        let has_room = ours.entries.len().saturating_add(theirs.entries.len()) <= MOST_SHARED;
        let is_of_requests =
            wanted.request.is_some() && self.parts.iter().all(|(request, _)| request.is_some());
        let is_met = theirs.entries.iter().any(|entry| self.clients.contains(&entry.client));
        if !is_same || !has_room || !is_of_requests || is_met {
            return Some(wanted);
        }
        self.clients.extend(theirs.entries.iter().map(|entry| entry.client));
        self.parts.push((wanted.request, theirs.entries.len()));
        self.batch.entries.extend(wanted.batch.entries);
        None
    }
}

impl Outbox {
    /// The store client wants a call.
    pub fn want(&mut self, request: Option<u32>, batch: &Batch, timeout: Millis) {
        self.wanted.push(Wanted { request, batch: batch.clone(), timeout });
    }

    /// The messages to send: each with its number and the longest that it may take. None is for requests that are no more by
    /// `is_there`.
    pub fn messages(&mut self, is_there: impl Fn(u32) -> bool) -> Vec<(u32, Vec<u8>, Millis)> {
        self.wanted.retain(|wanted| wanted.request.is_none_or(&is_there));
        let mut all: Vec<Shared> = Vec::new();
        for wanted in self.wanted.drain(..) {
            let refused = match all.last_mut() {
                Some(shared) => shared.join(wanted),
                None => Some(wanted),
            };
            all.extend(refused.map(Shared::new));
        }
        let mut message = |shared: Shared| {
            self.last_call = self.last_call.wrapping_add(1);
            self.under_way.insert(self.last_call, shared.parts);
            (self.last_call, shared.batch.to_bytes(), shared.timeout)
        };
        all.into_iter().map(&mut message).collect()
    }

    /// What the reply to message number `call` says to each for whom it was sent; nothing to those who are no more by `is_there`.
    pub fn replies(
        &mut self,
        call: u32,
        body: Option<Vec<u8>>,
        is_there: impl Fn(u32) -> bool,
    ) -> Vec<(Option<u32>, Option<Vec<u8>>)> {
        let parts = self.under_way.remove(&call).unwrap_or_default();
        if let [(request, _)] = parts.as_slice() {
            return vec![(*request, body)];
        }
        let reply = body.and_then(|body| Reply::from_bytes(&body).ok());
        let expected = parts.iter().fold(0_usize, |sum, (_, count)| sum.saturating_add(*count));
        let Some(mut reply) = reply.filter(|reply| reply.answers.len() == expected) else {
            return parts.into_iter().map(|(request, _)| (request, None)).collect();
        };
        let mut answers = std::mem::take(&mut reply.answers).into_iter();
        let mut replies = Vec::with_capacity(parts.len());
        for (request, count) in parts {
            let answers = answers.by_ref().take(count).collect();
            if !request.is_none_or(&is_there) {
                continue;
            }
            // The first of them learns what has changed; the others come after.
            let (changes, is_whole) = (std::mem::take(&mut reply.changes), reply.is_whole);
            reply.is_whole = false;
            let part = Reply { now: reply.now, revision: reply.revision, is_whole, changes, answers };
            replies.push((request, Some(part.to_bytes())));
        }
        replies
    }
}
