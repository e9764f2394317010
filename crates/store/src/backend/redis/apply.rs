//! A batch as calls of `apply.lua`, and its answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tollgate_core::units::{Cost, Micros, Millis, UnixMicros};

use crate::accounts::IDLE_PATIENT;
use redis::Value;
use tollgate_core::client::ClientId;
use tollgate_core::terms::{EXACT, Terms};
use tollgate_core::wire::{Answer, Ask, Grant, LeaseRequest, Refusal, Returned};

use super::bytes::Reader;
use super::fault::Fault;
use super::key::{self, Keys};
use super::lua::{self, ask, flag, refusal, status};
use super::script::{Call, Script};
use super::servers::Servers;
use crate::backend::{AccountEntry, AppliedBatch, BackendError};

/// The most clients of one call. Redis does nothing else meanwhile, for a millisecond or two.
const CHUNK: usize = 64;

/// The most clients of the concurrent calls for one batch. What a request waits for can go in between.
const WINDOW: usize = 2 * CHUNK;

/// The script.
pub(super) fn script() -> Script {
    let first = lua::of_accounts(include_str!("../../../scripts/charge.lua"));
    let rest =
        concat!(include_str!("../../../scripts/account.lua"), include_str!("../../../scripts/apply.lua"));
    Script::kept((&first, "charge_alone"), (&lua::of_accounts(rest), "apply_all"))
}

/// Applies `entries` at the server's time. Tests set the time by `at`.
pub(super) async fn apply(
    servers: &Servers,
    script: &Script,
    keys: &Keys,
    entries: &[AccountEntry],
    at: Option<UnixMicros>,
) -> Result<AppliedBatch, BackendError> {
    let chunks = chunks(keys, entries, |slot| servers.group_of(slot));
    let mut outcomes = Vec::with_capacity(chunks.len());
    for window in windows(&chunks) {
        let calls: Vec<Call> = window.iter().map(|chunk| call(keys, entries, chunk, at)).collect();
        outcomes.extend(script.run(servers, &calls).await);
    }
    let mut batch = AppliedBatch { now: UnixMicros(0), answers: vec![Answer::Failed; entries.len()] };
    let mut first_fault = None;
    for (chunk, outcome) in chunks.iter().zip(outcomes) {
        match outcome.and_then(|value| read(value, chunk.len())) {
            Ok((now, answers)) => {
                batch.now = batch.now.max(now);
                for (index, bytes) in chunk.iter().zip(answers) {
                    let (Some(entry), Some(place)) = (entries.get(*index), batch.answers.get_mut(*index))
                    else {
                        continue;
                    };
                    *place = answer(&bytes, &entry.ask).unwrap_or_else(|| {
                        tracing::error!("the account of client {} is damaged", entry.client);
                        Answer::Failed
                    });
                }
            }
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    match first_fault {
        // None of the entries was applied.
        Some(fault) if batch.now == UnixMicros(0) => Err(fault.into()),
        Some(fault) => {
            // `Instrumented` logs once that a part of the backend is away, and not with every batch.
            tracing::debug!("a part of a batch failed: {fault}");
            Ok(batch)
        }
        None if batch.now == UnixMicros(0) => Ok(AppliedBatch { now: super::time(servers).await?, ..batch }),
        None => Ok(batch),
    }
}

/// Resets one client's buckets, its month, or both.
pub(super) async fn reset(
    servers: &Servers,
    script: &Script,
    keys: &Keys,
    client: ClientId,
    (bucket, month): (bool, bool),
    at: Option<UnixMicros>,
) -> Result<(), BackendError> {
    let flags = if bucket { flag::BUCKET } else { 0 } | if month { flag::MONTH } else { 0 };
    let arguments = vec![time_argument(at), b"1".to_vec(), b"0".to_vec(), vec![ask::RESET, flags, 0, 0]];
    let value = script.call(servers, Call { keys: vec![keys.account(client)], arguments }).await?;
    let (_, answers) = read(value, 1)?;
    match answers.first().and_then(|bytes| bytes.first()) {
        Some(&status::DAMAGED) | None => {
            Err(BackendError::Corrupt(format!("the account of client {client} is damaged")))
        }
        Some(_) => Ok(()),
    }
}

/// The entries' places, grouped by what fits into one call: one group of slots, and no client twice. Each group is in
/// the batch's order.
pub(super) fn chunks(
    keys: &Keys,
    entries: &[AccountEntry],
    group_of: impl Fn(u16) -> u16,
) -> Vec<Vec<usize>> {
    let mut open: HashMap<u16, (Vec<usize>, HashSet<ClientId>)> = HashMap::new();
    let mut chunks = Vec::new();
    let mut slots: HashMap<u16, u16> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let shard = key::shard_of(entry.client);
        let slot = slots.entry(shard).or_insert_with(|| key::slot_of(&keys.names(shard)));
        let (chunk, clients) = open.entry(group_of(*slot)).or_default();
        if chunk.len() == CHUNK || !clients.insert(entry.client) {
            chunks.push(std::mem::take(chunk));
            *clients = HashSet::from([entry.client]);
        }
        chunk.push(index);
    }
    chunks.extend(open.into_values().map(|(chunk, _)| chunk));
    chunks
}

/// Groups of `chunks` that are sent at the same time.
fn windows(mut chunks: &[Vec<usize>]) -> impl Iterator<Item = &[Vec<usize>]> {
    std::iter::from_fn(move || {
        let mut clients = 0_usize;
        let fits = chunks.iter().take_while(|chunk| {
            clients = clients.saturating_add(chunk.len());
            clients <= WINDOW
        });
        // A chunk is never larger than a window.
        let (window, rest) = chunks.split_at_checked(fits.count())?;
        chunks = rest;
        (!window.is_empty()).then_some(window)
    })
}

/// The call that applies the entries of one chunk, at the server's time or in tests at `at`.
pub(super) fn call(keys: &Keys, entries: &[AccountEntry], chunk: &[usize], at: Option<UnixMicros>) -> Call {
    let entries = || chunk.iter().filter_map(|index| entries.get(*index));
    let mut offers: Vec<(&Arc<Terms>, &Arc<str>)> = Vec::new();
    let mut names: Vec<u16> = Vec::new();
    let mut packed = Vec::with_capacity(chunk.len());
    for entry in entries() {
        let is_same =
            |offer: &(&Arc<Terms>, &Arc<str>)| Arc::ptr_eq(offer.0, &entry.terms) && *offer.1 == entry.tier;
        let offer = place(&mut offers, is_same, (&entry.terms, &entry.tier));
        let shard = key::shard_of(entry.client);
        let set = entry.name.as_ref().map_or(0, |_| place(&mut names, |known| *known == shard, shard));
        packed.push(pack_entry(entry, offer, set));
    }
    let mut call = Call {
        keys: entries().map(|entry| keys.account(entry.client)).collect(),
        arguments: vec![
            time_argument(at),
            chunk.len().to_string().into_bytes(),
            offers.len().to_string().into_bytes(),
        ],
    };
    call.keys.extend(names.into_iter().map(|shard| keys.names(shard)));
    call.arguments.extend(offers.into_iter().map(|(terms, tier)| pack_offer(terms, tier)));
    call.arguments.extend(packed);
    call
}

/// The place in `list`, counted from 1, of the element that `is_same`. If there is none, `new` is added.
fn place<T>(list: &mut Vec<T>, is_same: impl Fn(&T) -> bool, new: T) -> u8 {
    let found = list.iter().position(is_same).unwrap_or_else(|| {
        list.push(new);
        list.len().saturating_sub(1)
    });
    // There are at most CHUNK of them.
    u8::try_from(found).unwrap_or(u8::MAX).saturating_add(1)
}

pub(super) fn time_argument(at: Option<UnixMicros>) -> Vec<u8> {
    at.map_or_else(Vec::new, |at| at.0.to_string().into_bytes())
}

pub(super) fn pack_offer(terms: &Terms, tier: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(terms.buckets.len()).unwrap_or(u8::MAX)];
    for index in 0..3 {
        let bucket = terms.buckets.get(index);
        let numbers = bucket.map_or([0; 3], |bucket| [bucket.drain, bucket.weight, bucket.capacity.0]);
        bytes.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
    }
    bytes.push(terms.monthly.is_some().into());
    bytes.extend(terms.monthly.unwrap_or_default().0.to_le_bytes());
    bytes.extend(tier.as_bytes());
    bytes
}

/// `amount` as the script reads it. `Account::apply` limits amounts to [`EXACT`], too.
pub(super) fn exact(amount: Cost) -> [u8; 8] {
    amount.0.min(EXACT).to_le_bytes()
}

fn pack_entry(entry: &AccountEntry, offer: u8, set: u8) -> Vec<u8> {
    let flags = if entry.is_anonymous { flag::ANONYMOUS } else { 0 }
        | if entry.name.is_some() { flag::NAMED } else { 0 };
    let mut bytes = Vec::with_capacity(90);
    match &entry.ask {
        Ask::Lease(lease) => {
            let is_returning = lease.returned != Returned::default();
            bytes.extend([if is_returning { ask::RETURN } else { ask::LEASE }, flags, offer, set]);
            bytes.extend(entry.node.to_le_bytes());
            bytes.extend(lease.epoch.to_le_bytes());
            bytes.extend(lease.seq.to_le_bytes());
            bytes.extend(exact(lease.spent));
            bytes.extend(exact(lease.acked));
            bytes.extend(exact(lease.spent_before_day));
            bytes.extend(lease.day.to_le_bytes());
            let amounts = [lease.hold, lease.need, lease.queued, lease.want];
            bytes.extend(amounts.into_iter().flat_map(exact));
            bytes.extend(lease.since.into_iter().flat_map(|since| since.0.min(EXACT).to_le_bytes()));
            if is_returning {
                bytes.extend(exact(lease.returned.cost));
                bytes.extend(lease.returned.age.0.min(EXACT).to_le_bytes());
            }
        }
        Ask::Charge { cost } => {
            bytes.extend([ask::CHARGE, flags, offer, set]);
            bytes.extend(exact(*cost));
        }
    }
    bytes.extend(entry.name.iter().flatten());
    bytes
}

/// Reads the script's answer: the clock, and one string per client.
pub(super) fn read(value: Value, count: usize) -> Result<(UnixMicros, Vec<Vec<u8>>), Fault> {
    let wrong = || Fault::Refused("the script's answer cannot be read".into());
    let parts: Vec<Vec<u8>> = redis::from_redis_value(value).map_err(|_| wrong())?;
    let (now, answers) = parts.split_first().ok_or_else(wrong)?;
    let now = std::str::from_utf8(now).ok().and_then(|now| now.parse().ok()).ok_or_else(wrong)?;
    if answers.len() == count { Ok((UnixMicros(now), answers.to_vec())) } else { Err(wrong()) }
}

/// Reads one client's answer. `None` means that its account is damaged.
pub(super) fn answer(bytes: &[u8], ask: &Ask) -> Option<Answer> {
    let mut reader = Reader(bytes);
    match reader.byte()? {
        status::GRANTED => {}
        status::STALE => return Some(Answer::Stale),
        _ => return None,
    }
    let lease = match ask {
        Ask::Lease(lease) => *lease,
        Ask::Charge { .. } => LeaseRequest::default(),
    };
    let (hold, spent) = (Cost(reader.long()?), Cost(reader.long()?));
    let (ttl, idle) = (Millis(reader.int()?.into()), Millis(reader.int()?.into()));
    let used = [Cost(reader.long()?), Cost(reader.long()?), Cost(reader.long()?)];
    let (month, month_used) = (reader.short()?, Cost(reader.long()?));
    let (flags, wait) = (reader.byte()?, Micros(reader.long()?));
    let why = Refusal {
        limits: flags & refusal::LIMITS,
        month: flags & refusal::MONTH != 0,
        never: flags & refusal::NEVER != 0,
        wait,
    };
    let grant = Grant {
        epoch: lease.epoch,
        seq: lease.seq,
        spent,
        hold,
        ttl,
        idle: idle.min(IDLE_PATIENT),
        used,
        month,
        month_used,
        refusal: (flags & refusal::REFUSED != 0).then_some(why),
    };
    reader.is_empty().then_some(Answer::Grant(grant))
}
