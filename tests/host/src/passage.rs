//! A request's way through the filters of a worker's chain, callback by callback.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | contexts are created | all at once, before the first callback | each at its filter's first callback |
//! | response callbacks run | first filter first | last filter first, skipping those that saw no request |
//! | at the end | done, log, delete | log, done, delete |
//! | end of stream | never set | set where there is no body |
//! | a dead upstream | 502, and no callback at all | 503, all callbacks |
//! | a paused request goes on | when the last call has come back | when the filter says so |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::calls::{Call, Reply};
use crate::exchange::{Exchange, Request, Response, Seen, Upstream};
use crate::headers::Headers;
use crate::rules::{Rule, RuleBroken};
use crate::stream::Stream;
use crate::thread::Thread;
use crate::vm::export_of;
use crate::world::{Active, Step};

const PAUSE: u32 = 1;

/// A request under way.
pub struct Passage {
    /// Its number, for [`Exchange::paused`].
    pub id: u64,
    /// Which worker it is on.
    pub worker: usize,
    stream: Rc<RefCell<Stream>>,
    contexts: Vec<Context>,
    /// The filter whose turn it is.
    next: usize,
    seen: Option<Seen>,
    callbacks: Vec<&'static str>,
    host_calls: BTreeMap<&'static str, u32>,
    instructions: u64,
}

struct Context {
    id: u32,
    root_key: u32,
    root: u32,
    created: bool,
}

/// How far the request came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It came to its end.
    Done,
    /// It waits for a call.
    Paused,
}

impl Passage {
    /// Prepares `request` on `thread`, with the filters that have these root keys.
    pub fn new(id: u64, request: &Request, thread: &mut Thread, chain: &[u32]) -> Self {
        let context = |thread: &mut Thread, root_key| Context {
            id: thread.next_context(),
            root_key,
            root: 0,
            created: false,
        };
        let contexts = chain.iter().map(|key| context(thread, *key)).collect();
        Self {
            id,
            worker: request.worker,
            stream: Rc::new(RefCell::new(Stream::new(request, thread.common.personality))),
            contexts,
            next: 0,
            seen: None,
            callbacks: Vec::new(),
            host_calls: BTreeMap::new(),
            instructions: 0,
        }
    }

    /// Runs the request from its beginning.
    pub fn start(&mut self, thread: &mut Thread) -> Result<Progress, RuleBroken> {
        self.counted(thread, |passage, thread| {
            if thread.common.personality.is_kong() {
                (0..passage.contexts.len()).try_for_each(|place| passage.create(thread, place))?;
            }
            passage.go_on(thread)
        })
    }

    /// Hands over a call's reply, and continues the request if the host or the filter does so.
    pub fn answer(
        &mut self,
        thread: &mut Thread,
        call: &Call,
        reply: &Rc<Reply>,
    ) -> Result<Progress, RuleBroken> {
        self.counted(thread, |passage, thread| {
            let place =
                passage.contexts.iter().position(|context| context.id == call.context).expect("its own call");
            let kong = thread.common.personality.is_kong();
            if kong && reply.is_lost() {
                let mut stream = passage.stream.borrow_mut();
                stream.has_lost_call = true;
                stream.has_spent_buffer |= !call.body.is_empty();
            }
            passage.hand_over(thread, place, call, reply)?;
            let pending = thread.calls_of(call.context);
            let goes_on = if kong { pending == 0 } else { passage.stream.borrow().resumed };
            if passage.stream.borrow().local.is_some() || goes_on {
                return passage.go_on(thread);
            }
            if pending == 0 {
                return Err(RuleBroken::new(
                    Rule::PausedForNothing,
                    "left a request paused after its last call",
                ));
            }
            Ok(Progress::Paused)
        })
    }

    /// The exchange so far.
    pub fn exchange(&self, progress: Progress) -> Exchange {
        let paused = progress == Progress::Paused;
        let response = self.stream.borrow().response.clone();
        Exchange {
            upstream: self.seen.clone(),
            client: response.filter(|_| !paused).unwrap_or_default(),
            paused: paused.then_some(self.id),
            filtered: true,
            callbacks: self.callbacks.clone(),
            host_calls: self.host_calls.clone(),
            instructions: self.instructions,
        }
    }

    /// Whether this request's context waits for `call`.
    pub fn waits_for(&self, call: &Call) -> bool {
        self.contexts.iter().any(|context| context.id == call.context)
    }

    fn counted<T>(
        &mut self,
        thread: &mut Thread,
        run: impl FnOnce(&mut Self, &mut Thread) -> Result<T, RuleBroken>,
    ) -> Result<T, RuleBroken> {
        thread.vm()?.take_counts();
        let ran = run(self, thread);
        let (calls, instructions) = thread.vm()?.take_counts();
        calls.into_iter().for_each(|(name, count)| *self.host_calls.entry(name).or_default() += count);
        self.instructions += instructions;
        // The client's status: Kong fails open once the upstream has answered, Envoy never does.
        ran.map_err(|broken| {
            let kong = thread.common.personality.is_kong();
            let response = self.stream.borrow().response.as_ref().map(|response| response.status);
            let client = if kong { response.unwrap_or(500) } else { 503 };
            RuleBroken { client: Some(client), ..broken }
        })
    }

    fn create(&mut self, thread: &mut Thread, place: usize) -> Result<(), RuleBroken> {
        let root = thread.ready_root(self.contexts[place].root_key)?;
        let context = &mut self.contexts[place];
        if !context.created {
            (context.created, context.root) = (true, root);
            let id = context.id;
            self.call(thread, place, Step::Create, export_of(Step::Create), &[id, root])?;
        }
        Ok(())
    }

    /// Runs one callback of one filter.
    fn call(
        &mut self,
        thread: &mut Thread,
        place: usize,
        step: Step,
        export: &'static str,
        arguments: &[u32],
    ) -> Result<Option<u32>, RuleBroken> {
        self.call_with(thread, place, step, export, arguments, None)
    }

    fn call_with(
        &mut self,
        thread: &mut Thread,
        place: usize,
        step: Step,
        export: &'static str,
        arguments: &[u32],
        reply: Option<Rc<Reply>>,
    ) -> Result<Option<u32>, RuleBroken> {
        let context = &self.contexts[place];
        let active = Active {
            step,
            context: context.id,
            root: context.root,
            stream: Some(Rc::clone(&self.stream)),
            configuration: thread.configuration(context.root_key),
            is_early_tick: false,
            reply,
        };
        self.callbacks.push(export);
        thread.vm()?.call(active, export, arguments)
    }

    fn hand_over(
        &mut self,
        thread: &mut Thread,
        place: usize,
        call: &Call,
        reply: &Rc<Reply>,
    ) -> Result<(), RuleBroken> {
        let kong = thread.common.personality.is_kong();
        // Kong passes the root's id, whichever context made the call.
        let context = if kong { call.root } else { call.context };
        let arguments = [context, call.id, reply.count(kong), reply.body().len() as u32, 0];
        self.call_with(
            thread,
            place,
            Step::CallResponse,
            export_of(Step::CallResponse),
            &arguments,
            Some(reply.clone()),
        )?;
        Ok(())
    }

    /// Runs from the next filter to the end.
    fn go_on(&mut self, thread: &mut Thread) -> Result<Progress, RuleBroken> {
        while self.next < self.contexts.len() && self.stream.borrow().local.is_none() {
            let place = self.next;
            self.next += 1;
            if self.request_headers(thread, place)? == Progress::Paused {
                return Ok(Progress::Paused);
            }
        }
        if self.stream.borrow().local.is_none() {
            self.request_body(thread)?;
        }
        if !self.respond(thread)? {
            return Ok(Progress::Done);
        }
        self.response(thread)?;
        self.end(thread)?;
        Ok(Progress::Done)
    }

    fn request_headers(&mut self, thread: &mut Thread, place: usize) -> Result<Progress, RuleBroken> {
        self.create(thread, place)?;
        let kong = thread.common.personality.is_kong();
        let (headers, no_body) = {
            let stream = self.stream.borrow();
            (stream.request.0.len() + if kong { 0 } else { 4 }, stream.body.is_empty())
        };
        let id = self.contexts[place].id;
        let eof = u32::from(!kong && no_body);
        let action = self.call(
            thread,
            place,
            Step::RequestHeaders,
            export_of(Step::RequestHeaders),
            &[id, headers as u32, eof],
        )?;
        if self.stream.borrow().local.is_some() {
            thread.cancel_calls(id);
            return Ok(Progress::Done);
        }
        let calls = thread.calls_of(id);
        // In Envoy another context of the thread may resume it, which only tests on real Envoys cover.
        let may_be_resumed = calls > 0 || (!kong && thread.has_calls());
        match action {
            Some(PAUSE) if !may_be_resumed => {
                Err(RuleBroken::new(Rule::PausedForNothing, "paused a request"))
            }
            Some(PAUSE) => Ok(Progress::Paused),
            _ if calls > 0 && kong => Err(RuleBroken::new(
                Rule::CallAndContinue,
                format!("let a request go on with {calls} calls under way"),
            )),
            _ => Ok(Progress::Done),
        }
    }

    fn request_body(&mut self, thread: &mut Thread) -> Result<(), RuleBroken> {
        let size = self.stream.borrow().body.len() as u32;
        for place in 0..if size == 0 { 0 } else { self.contexts.len() } {
            let id = self.contexts[place].id;
            let export = export_of(Step::RequestBody);
            if thread.vm()?.has(export)
                && self.call(thread, place, Step::RequestBody, export, &[id, size, 1])? == Some(PAUSE)
            {
                return Err(RuleBroken::new(Rule::PausedForNothing, "paused a request's body"));
            }
        }
        Ok(())
    }

    /// Takes the response of a filter, the upstream or the gateway. Returns whether the filters see it.
    fn respond(&mut self, thread: &mut Thread) -> Result<bool, RuleBroken> {
        let kong = thread.common.personality.is_kong();
        let mut stream = self.stream.borrow_mut();
        let response = match (stream.local.clone(), stream.upstream.clone()) {
            (Some(local), _) => local,
            (None, Upstream::Answers(response)) => {
                self.seen = Some(stream.seen());
                response
            }
            (None, Upstream::Dead) => {
                let status = if kong { 502 } else { 503 };
                stream.response =
                    Some(Response { status, headers: Headers::default(), body: b"no upstream".to_vec() });
                return Ok(!kong);
            }
        };
        stream.take_response(response);
        Ok(true)
    }

    fn response(&mut self, thread: &mut Thread) -> Result<(), RuleBroken> {
        let kong = thread.common.personality.is_kong();
        let mut places: Vec<usize> = (0..self.contexts.len()).collect();
        if !kong {
            places.retain(|place| self.contexts[*place].created);
            places.reverse();
        }
        for &place in &places {
            let headers =
                self.stream.borrow().response.as_ref().map_or(0, |response| response.headers.0.len());
            let arguments = [self.contexts[place].id, headers as u32 + u32::from(!kong), 0];
            if self.call(
                thread,
                place,
                Step::ResponseHeaders,
                export_of(Step::ResponseHeaders),
                &arguments,
            )? == Some(PAUSE)
            {
                return Err(RuleBroken::new(Rule::PausedForNothing, "paused a response"));
            }
        }
        let size = self.stream.borrow().response.as_ref().map_or(0, |response| response.body.len()) as u32;
        let export = export_of(Step::ResponseBody);
        for &place in places.iter().filter(|_| size > 0) {
            if thread.vm()?.has(export) {
                let id = self.contexts[place].id;
                self.call(thread, place, Step::ResponseBody, export, &[id, size, 1])?;
            }
        }
        Ok(())
    }

    fn end(&mut self, thread: &mut Thread) -> Result<(), RuleBroken> {
        let order = if thread.common.personality.is_kong() {
            ["proxy_on_done", "proxy_on_log", "proxy_on_delete"]
        } else {
            ["proxy_on_log", "proxy_on_done", "proxy_on_delete"]
        };
        for place in 0..self.contexts.len() {
            self.create(thread, place)?;
            for export in order {
                let id = self.contexts[place].id;
                self.call(thread, place, Step::Log, export, &[id])?;
            }
            thread.cancel_calls(self.contexts[place].id);
        }
        Ok(())
    }
}
