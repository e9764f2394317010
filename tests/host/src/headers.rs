//! Header maps, by both hosts' rules.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | names | as the client wrote them | lower case |
//! | all pairs at once | 100, with `:path :method :scheme :authority` first: headers that auth plugins added come last and are cut off; from 97 headers on, the host writes more than the memory it asked for | all |
//! | `:path` | nginx's `r->uri` and the query: decoded, dots resolved, cut at `#`; Kong routes by the property `request.path` | the path that is routed |
//! | replacing a header that has two copies | the first gets the value, then both are removed | both are removed, one is added |
//! | a request header that is removed | is sent to the upstream all the same, and is found by its name | is gone |
//! | control characters in a value | are escaped as %XX | are written as they are |
//! | all response headers at once | 100, with `:status` and up to six that nginx writes itself first; the memory is too small here as well | all |
//! | response headers before the response | are kept; the upstream's are added | there is no map: BadArgument |

use wasmtime::{Caller, Linker};

use crate::abi::{Answer, Guest, Pair, Status, host_call, pairs_from_bytes, pairs_to_bytes};
use crate::personality::Personality;
use crate::rules::{Rule, RuleBroken};
use crate::stream::Stream;
use crate::world::{Step, World};

/// The most pairs that Kong hands over in one call, pseudo headers included.
pub const KONG_MAX_PAIRS: usize = 100;

/// The headers that nginx can write into a response by itself. Kong's host lists them before the upstream's.
const KONG_ADDS: [(&str, &str); 6] = [
    ("Content-Type", "text/plain"),
    ("Content-Length", "0"),
    ("Transfer-Encoding", "chunked"),
    ("Connection", "keep-alive"),
    ("Keep-Alive", "timeout=75"),
    ("Vary", "Accept-Encoding"),
];

const REQUEST: u32 = 0;
const RESPONSE: u32 = 2;
const CALL_RESPONSE: u32 = 6;

/// A message's headers, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Pair>);

impl Headers {
    /// The first value of `name`, in any case.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Every value of `name`.
    pub fn all(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// Adds one more `name`.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_vec(), value.to_vec()));
    }

    /// Removes every `name` and returns what was there.
    pub fn remove(&mut self, name: &[u8]) -> Vec<Pair> {
        let is_called = |(other, _): &Pair| other.eq_ignore_ascii_case(name);
        let (removed, kept) = std::mem::take(&mut self.0).into_iter().partition(is_called);
        self.0 = kept;
        removed
    }

    /// Sets `name` the way that host does, and returns what it removed.
    pub fn replace(&mut self, name: &[u8], value: &[u8], personality: Personality) -> Vec<Pair> {
        let copies = self.all(name).count();
        if personality.is_kong() && copies > 0 {
            let place = self.0.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name));
            *place.expect("counted") = (name.to_vec(), value.to_vec());
            return if copies > 1 { self.remove(name) } else { Vec::new() };
        }
        let removed = self.remove(name);
        self.add(name, value);
        removed
    }
}

/// What a module does to a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Replace,
    Remove,
}

/// The value that the host puts into the message.
fn written(guest: &Guest<'_>, value: &[u8]) -> Result<Vec<u8>, RuleBroken> {
    let control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    if guest.is_kong() {
        let escape =
            |byte: &u8| if control(byte) { format!("%{byte:02X}").into_bytes() } else { vec![*byte] };
        return Ok(value.iter().flat_map(escape).collect());
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(RuleBroken::new(
            Rule::BrokenHeader,
            format!("wrote the value {:?}", String::from_utf8_lossy(value)),
        ));
    }
    Ok(value.to_vec())
}

/// Kong traps on headers that can no longer be set; Envoy has no map then.
fn check_settable(guest: &Guest<'_>, map: u32, stream: &Stream) -> Result<(), RuleBroken> {
    if !guest.is_kong() {
        return Ok(());
    }
    let step = guest.world().active.step;
    let before_response = matches!(step, Step::RequestHeaders | Step::RequestBody)
        || (step == Step::CallResponse && stream.response.is_none());
    match map {
        REQUEST if !before_response => {
            Err(RuleBroken::new(Rule::RequestHeadersTooLate, "set a request header after the request"))
        }
        RESPONSE if !before_response && step != Step::ResponseHeaders => Err(RuleBroken::new(
            Rule::ResponseHeadersTooLate,
            "set a response header after the response's headers",
        )),
        _ => Ok(()),
    }
}

/// The stream's map, mutable; `None` if the host has none.
fn map_of(stream: &mut Stream, map: u32, kong: bool) -> Option<&mut Headers> {
    match map {
        REQUEST => Some(&mut stream.request),
        RESPONSE => match &mut stream.response {
            Some(response) => Some(&mut response.headers),
            None => kong.then_some(&mut stream.early),
        },
        _ => None,
    }
}

fn change(guest: &mut Guest<'_>, map: u32, name: &[u8], value: &[u8], change: Change) -> Answer {
    let value = written(guest, value)?;
    let Some(stream) = guest.world().active.stream.clone() else { return Ok(Status::BadArgument) };
    let stream = &mut *stream.borrow_mut();
    check_settable(guest, map, stream)?;
    if name.starts_with(b":") {
        return Ok(stream.set_pseudo(map == RESPONSE, name, &value));
    }
    let personality = guest.personality();
    let Some(headers) = map_of(stream, map, personality.is_kong()) else { return Ok(Status::BadArgument) };
    let name = if personality.is_kong() { name.to_vec() } else { name.to_ascii_lowercase() };
    let removed = match change {
        Change::Add => {
            headers.add(&name, &value);
            Vec::new()
        }
        Change::Replace => headers.replace(&name, &value, personality),
        Change::Remove => headers.remove(&name),
    };
    // nginx leaves headers marked as removed out of responses, but not out of requests.
    if map == REQUEST && personality.is_kong() && !removed.is_empty() {
        if change == Change::Remove {
            let what = format!("removed {}", String::from_utf8_lossy(&name));
            return Err(RuleBroken::new(Rule::RequestHeaderRemoved, what));
        }
        stream.removed.0.extend(removed);
    }
    Ok(Status::Ok)
}

/// The map's pairs as a module sees them, with the pseudo headers first.
fn pairs_of(guest: &Guest<'_>, map: u32) -> Option<Vec<Pair>> {
    if map == CALL_RESPONSE {
        return guest.world().active.reply.as_ref().map(|reply| reply.headers());
    }
    let stream = guest.world().active.stream.clone()?;
    let stream = &mut *stream.borrow_mut();
    let mut pairs = stream.pseudo(map == RESPONSE);
    if map == RESPONSE && guest.is_kong() {
        pairs.extend(KONG_ADDS.map(|(name, value)| (name.into(), value.into())));
    }
    pairs.extend(map_of(stream, map, guest.is_kong())?.0.iter().cloned());
    Some(pairs)
}

fn get_pairs(guest: &mut Guest<'_>, map: u32, to: (u32, u32)) -> Answer {
    let Some(mut pairs) = pairs_of(guest, map) else {
        if guest.is_kong() {
            return Ok(Status::BadArgument);
        }
        guest.give(&pairs_to_bytes(&[]), to.0, to.1)?;
        return Ok(Status::Ok);
    };
    let mut size = 0;
    if guest.is_kong() && pairs.len() > KONG_MAX_PAIRS {
        guest.world().log("warn", "marshalled map truncated to 100 elements");
        size = asked_for(&pairs);
        pairs.truncate(KONG_MAX_PAIRS);
    }
    let mut bytes = pairs_to_bytes(&pairs);
    if bytes.len() < size {
        // The rest holds whatever was there before.
        bytes.resize(size, 0xA5);
    } else if size > 0 && bytes.len() > size {
        let what = format!("took a map that is {} bytes longer than its memory", bytes.len() - size);
        return Err(RuleBroken::new(Rule::HeaderMapOverflow, what));
    }
    guest.give(&bytes, to.0, to.1)?;
    Ok(Status::Ok)
}

/// The size of the memory that Kong's host asks for. For a map that is too long, it counts the first 100 headers, and pseudo
/// headers until it has counted one more.
fn asked_for(pairs: &[Pair]) -> usize {
    let is_added = |name: &[u8]| KONG_ADDS.iter().any(|(added, _)| added.as_bytes() == name);
    let pseudo = pairs.iter().take_while(|(name, _)| name.starts_with(b":") || is_added(name)).count();
    let (pseudo, own) = pairs.split_at(pseudo);
    let own = &own[..own.len().min(KONG_MAX_PAIRS)];
    let counted = (KONG_MAX_PAIRS + 1 - own.len()).min(pseudo.len());
    let size = |(name, value): &Pair| 8 + name.len() + 1 + value.len() + 1;
    4 + own.iter().chain(&pseudo[..counted]).map(size).sum::<usize>()
}

fn get_value(guest: &mut Guest<'_>, map: u32, name: (u32, u32), to: (u32, u32)) -> Answer {
    let mut name = guest.bytes(name.0, name.1)?;
    // Envoy keeps the host header as `:authority`, and finds it by both names.
    if !guest.is_kong() && map == REQUEST && name.eq_ignore_ascii_case(b"host") {
        name = b":authority".to_vec();
    }
    let Some(pairs) = pairs_of(guest, map) else {
        // Without a map, Envoy returns an empty text in the log phase and a bad argument before.
        if guest.world().active.step == Step::Log {
            guest.give(b"", to.0, to.1)?;
            return Ok(Status::Ok);
        }
        return Ok(if guest.is_kong() { Status::NotFound } else { Status::BadArgument });
    };
    // A removed header is no longer among the pairs, but is found by its name.
    let removed = match &guest.world().active.stream {
        Some(stream) if map == REQUEST => stream.borrow().removed.get(&name).map(<[u8]>::to_vec),
        _ => None,
    };
    let found = removed.or_else(|| Headers(pairs).get(&name).map(<[u8]>::to_vec));
    let Some(value) = found else { return Ok(Status::NotFound) };
    guest.give(&value, to.0, to.1)?;
    Ok(Status::Ok)
}

fn set_pairs(guest: &mut Guest<'_>, map: u32, bytes: &[u8]) -> Answer {
    let pairs = pairs_from_bytes(bytes)?;
    let Some(stream) = guest.world().active.stream.clone() else { return Ok(Status::BadArgument) };
    check_settable(guest, map, &stream.borrow())?;
    let Some(_) = map_of(&mut stream.borrow_mut(), map, guest.is_kong()).map(|headers| headers.0.clear())
    else {
        return Ok(Status::BadArgument);
    };
    for (name, value) in pairs {
        // Kong sets one after the other, so only the last of several values of a name is left.
        let how = if guest.is_kong() { Change::Replace } else { Change::Add };
        change(guest, map, &name, &value, how)?;
    }
    Ok(Status::Ok)
}

/// Links the host calls.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |caller: Caller<'_, World>, map: u32, to: u32, len_to: u32| {
            host_call(caller, "proxy_get_header_map_pairs", |guest| get_pairs(guest, map, (to, len_to)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |caller: Caller<'_, World>, map: u32, at: u32, len: u32| {
            host_call(caller, "proxy_set_header_map_pairs", |guest| {
                let bytes = guest.bytes(at, len)?;
                set_pairs(guest, map, &bytes)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |caller: Caller<'_, World>, map: u32, name: u32, name_len: u32, to: u32, len_to: u32| {
            host_call(caller, "proxy_get_header_map_value", |guest| {
                get_value(guest, map, (name, name_len), (to, len_to))
            })
        },
    )?;
    for (call, how) in
        [("proxy_add_header_map_value", Change::Add), ("proxy_replace_header_map_value", Change::Replace)]
    {
        linker.func_wrap(
            "env",
            call,
            move |caller: Caller<'_, World>,
                  map: u32,
                  name: u32,
                  name_len: u32,
                  value: u32,
                  value_len: u32| {
                host_call(caller, call, |guest| {
                    let (name, value) = (guest.bytes(name, name_len)?, guest.bytes(value, value_len)?);
                    change(guest, map, &name, &value, how)
                })
            },
        )?;
    }
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |caller: Caller<'_, World>, map: u32, name: u32, name_len: u32| {
            host_call(caller, "proxy_remove_header_map_value", |guest| {
                let name = guest.bytes(name, name_len)?;
                change(guest, map, &name, b"", Change::Remove)
            })
        },
    )?;
    Ok(())
}
