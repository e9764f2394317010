//! The Redis backend's side of its Lua scripts: what it sends is what the scripts read, and a reply is read as what was packed,
//! or not at all.
//!
//! The scripts' own formats are taken from their text, so a change to one there shows here.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;
use tollgate_core::units::{Cost, Micros, Millis, UnixMicros};

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tollgate_core::client::ClientId;
use tollgate_core::terms::{EXACT, Offer, Rate, Terms};
use tollgate_core::wire::{Answer, Ask, Grant, LeaseRequest, Refusal, Returned};
use tollgate_store::accounts::IDLE_PATIENT;
use tollgate_store::backend::AccountEntry;
use tollgate_store::backend::redis::fuzzing::{self, Stored, Value};

const APPLY: &str = include_str!("../../crates/store/scripts/apply.lua");
const ACCOUNT: &str = include_str!("../../crates/store/scripts/account.lua");

const ANONYMOUS: u64 = 1;
const NAMED: u64 = 2;

fuzz_target!(|bytes: &[u8]| {
    let mut dice = Unstructured::new(bytes);
    let _ = match dice.arbitrary::<u8>().unwrap_or(0) % 5 {
        0 => arguments(&mut dice),
        1 => grants(&mut dice),
        2 => accounts(&mut dice),
        3 => hostile(&mut dice),
        _ => texts(&mut dice),
    };
});

/// A batch: every entry is in one call, in which the script reads what the entry says.
fn arguments(dice: &mut Unstructured<'_>) -> Result<()> {
    let terms: Vec<(Arc<Terms>, Arc<str>)> = (0..3).map(|tier| terms(dice, tier)).collect::<Result<_>>()?;
    let (is_cluster, at) = (dice.arbitrary()?, dice.arbitrary::<Option<u64>>()?);
    let mut entries = Vec::new();
    while !dice.is_empty() && entries.len() < 300 {
        entries.push(entry(dice, &terms)?);
    }
    let calls = fuzzing::calls("n}{s", &entries, is_cluster, at.map(UnixMicros));
    let mut places: Vec<usize> = calls.iter().flat_map(|call| call.entries.clone()).collect();
    // The entries of one client are applied in the order in which it sent them.
    for client in 0..8_u8 {
        let of = |place: &&usize| entries[**place].client == ClientId([client; 16]);
        assert!(places.iter().filter(of).is_sorted());
    }
    places.sort_unstable();
    assert!(places.into_iter().eq(0..entries.len()));

    for call in calls {
        let count = call.entries.len();
        let number =
            |place: usize| std::str::from_utf8(&call.arguments[place]).expect("a text").parse::<u64>();
        assert_eq!(number(0).ok(), at);
        assert_eq!(number(1), Ok(count as u64));
        let offers = number(2).expect("a number") as usize;
        assert_eq!(call.arguments.len(), 3 + offers + count);
        let accounts: HashSet<&String> = call.keys[..count].iter().collect();
        assert_eq!(accounts.len(), count, "each client once");
        if is_cluster {
            assert!(call.keys.iter().all(|key| fuzzing::slot_of(key) == fuzzing::slot_of(&call.keys[0])));
        }
        for (index, place) in call.entries.iter().enumerate() {
            let entry = &entries[*place];
            let (account, names) = fuzzing::keys("n}{s", entry.client);
            assert_eq!(call.keys[index], account);
            let mut bytes = &call.arguments[3 + offers + index][..];
            let head = unpack("<BBBB", &mut bytes);
            let [what, flags, offer, set] = head[..] else { panic!("four numbers") };
            let named = entry.name.as_ref().map_or(0, |_| NAMED);
            assert_eq!(flags, named | if entry.is_anonymous { ANONYMOUS } else { 0 });
            match &entry.ask {
                Ask::Lease(lease) => {
                    let is_returning = lease.returned != Returned::default();
                    assert_eq!(what, if is_returning { 3 } else { 0 });
                    let exact = |amount: Cost| amount.0.min(EXACT);
                    let said = [
                        entry.node,
                        lease.epoch & 0xFFFF_FFFF,
                        lease.epoch >> 32,
                        lease.seq.into(),
                        exact(lease.spent),
                        exact(lease.acked),
                        exact(lease.spent_before_day),
                        lease.day.into(),
                        exact(lease.hold),
                        exact(lease.need),
                        exact(lease.queued),
                        exact(lease.want),
                        lease.since[0].0.min(EXACT),
                        lease.since[1].0.min(EXACT),
                        lease.since[2].0.min(EXACT),
                    ];
                    assert_eq!(unpack(format(APPLY, "local LEASE"), &mut bytes), said);
                    if is_returning {
                        let said = [exact(lease.returned.cost), lease.returned.age.0.min(EXACT)];
                        assert_eq!(unpack("<I8I8", &mut bytes), said);
                    }
                }
                Ask::Charge { cost } => {
                    assert_eq!(what, 1);
                    assert_eq!(unpack(format(APPLY, "cost, text = unpack"), &mut bytes), [cost.0.min(EXACT)]);
                }
            }
            assert_eq!(bytes, entry.name.as_deref().unwrap_or_default());
            if named != 0 {
                assert_eq!(call.keys[count + set as usize - 1], names);
            }
            let mut bytes = &call.arguments[3 + offer as usize - 1][..];
            let numbers = unpack(format(APPLY, "local buckets, d1"), &mut bytes);
            assert!(numbers.iter().all(|number| *number <= EXACT), "Lua is exact to there");
            let buckets = &entry.terms.buckets;
            assert_eq!(numbers[0], buckets.len() as u64);
            for (bucket, said) in buckets.iter().zip(numbers[1..10].chunks(3)) {
                assert_eq!(said, [bucket.drain, bucket.weight, bucket.capacity.0]);
            }
            assert_eq!(entry.terms.monthly, (numbers[10] == 1).then_some(Cost(numbers[11])));
            assert_eq!(bytes, entry.tier.as_bytes());
        }
    }
    Ok(())
}

fn terms(dice: &mut Unstructured<'_>, tier: u8) -> Result<(Arc<Terms>, Arc<str>)> {
    let rates = (0..dice.int_in_range(0..=3)?).map(|_| {
        let seconds = *dice.choose(&[1, 60, 3_600, 86_400])?;
        Ok(Rate { units: dice.arbitrary::<u32>()? >> 12, seconds, burst: dice.int_in_range(100..=1_000)? })
    });
    let offer =
        Offer { tier: String::new(), rates: rates.collect::<Result<_>>()?, monthly: dice.arbitrary()? };
    Ok((Arc::new(offer.terms().unwrap_or_default()), format!("tier-{tier}").into()))
}

fn entry(dice: &mut Unstructured<'_>, terms: &[(Arc<Terms>, Arc<str>)]) -> Result<AccountEntry> {
    let (terms, tier) = dice.choose(terms)?;
    let ask = if dice.ratio(1, 4)? {
        Ask::Charge { cost: Cost(dice.arbitrary()?) }
    } else {
        Ask::Lease(LeaseRequest {
            since: [dice.arbitrary()?, dice.arbitrary()?, dice.arbitrary()?].map(Micros),
            epoch: dice.arbitrary()?,
            seq: dice.arbitrary()?,
            spent: Cost(dice.arbitrary()?),
            acked: Cost(dice.arbitrary()?),
            spent_before_day: Cost(dice.arbitrary()?),
            day: dice.arbitrary()?,
            hold: Cost(dice.arbitrary()?),
            need: Cost(dice.arbitrary()?),
            queued: Cost(dice.arbitrary()?),
            want: Cost(dice.arbitrary()?),
            returned: Returned { cost: Cost(dice.arbitrary()?), age: Micros(dice.arbitrary()?) },
        })
    };
    Ok(AccountEntry {
        client: ClientId([dice.int_in_range(0..=200)?; 16]),
        name: dice.arbitrary()?,
        is_anonymous: dice.arbitrary()?,
        tier: Arc::clone(tier),
        terms: Arc::clone(terms),
        node: dice.arbitrary()?,
        ask,
    })
}

/// What the script packs is what is read; with one byte more or less, nothing is.
fn grants(dice: &mut Unstructured<'_>) -> Result<()> {
    let ask = Ask::Lease(LeaseRequest {
        epoch: dice.arbitrary()?,
        seq: dice.arbitrary()?,
        ..LeaseRequest::default()
    });
    let Ask::Lease(lease) = ask else { return Ok(()) };
    let (hold, spent, used, month_used) =
        (dice.arbitrary()?, dice.arbitrary()?, dice.arbitrary()?, dice.arbitrary()?);
    let (ttl, idle, month, flags, wait): (u32, u32, u16, u8, u64) = dice.arbitrary()?;
    let [first, second, third]: [u64; 3] = used;
    let numbers = [
        0,
        hold,
        spent,
        ttl.into(),
        idle.into(),
        first,
        second,
        third,
        month.into(),
        month_used,
        flags.into(),
        wait,
    ];
    let mut bytes = pack(format(ACCOUNT, "return pack('<BI8I8I4I4"), &numbers);
    let refusal =
        Refusal { limits: flags & 7, month: flags & 8 != 0, never: flags & 16 != 0, wait: Micros(wait) };
    let grant = Grant {
        epoch: lease.epoch,
        seq: lease.seq,
        spent: Cost(spent),
        hold: Cost(hold),
        ttl: Millis(ttl.into()),
        idle: Millis(idle.into()).min(IDLE_PATIENT),
        used: used.map(Cost),
        month,
        month_used: Cost(month_used),
        refusal: (flags & 128 != 0).then_some(refusal),
    };
    let now: u64 = dice.arbitrary()?;
    let read = |bytes: &[u8]| {
        let reply = Value::Array(vec![
            Value::BulkString(now.to_string().into_bytes()),
            Value::BulkString(bytes.to_vec()),
        ]);
        fuzzing::answers(reply, &[ask]).expect("a clock, and an answer")
    };
    assert_eq!(read(&bytes), (now, vec![Some(Answer::Grant(grant))]));
    assert_eq!(read(&bytes[..bytes.len() - 1]).1, [None]);
    bytes.push(0);
    assert_eq!(read(&bytes).1, [None]);
    Ok(())
}

/// An account's bytes are read as what they say, completely, or not at all.
fn accounts(dice: &mut Unstructured<'_>) -> Result<()> {
    let bytes = if dice.arbitrary()? { account(dice)? } else { dice.take_rest_bytes() };
    let Ok(Stored { name, tier, monthly, account }) = Stored::from_bytes(&bytes) else { return Ok(()) };
    let mut description = pack("<BI8", &[monthly.is_some().into(), monthly.unwrap_or_default().0]);
    description.extend(tier.into_bytes());
    // The number of levels is not known any more; omitted levels are zero.
    let mut repacked = Vec::new();
    for levels in 0..=3_u64 {
        let (has_floors, was_refilled) = (bytes[1] & 32 != 0, bytes[1] & 64 != 0);
        let flags = [(name.is_some(), 16), (has_floors, 32), (was_refilled, 64)];
        let has = flags.iter().filter(|(is_set, _)| *is_set).fold(levels, |has, (_, flag)| has | flag);
        let text = name.as_deref().unwrap_or_default();
        let lengths = [description.len(), text.len(), account.loans.len(), account.usage.len()];
        let mut packed = pack(
            format(APPLY, "local HEAD ="),
            &[&[1, has, account.at.0][..], &lengths.map(|length| length as u64)].concat(),
        );
        for level in &account.levels[..levels as usize] {
            // An empty bucket's work is negative: how long the bucket has been empty.
            let work = if level.idle > Micros(0) { level.idle.0.wrapping_neg() } else { level.work.0 };
            packed.extend(pack(format(APPLY, "local LEVEL"), &[work, level.weight, level.drain]));
        }
        packed.extend(&description);
        packed.extend(text);
        for loan in &account.loans {
            let (low, high) = (loan.epoch & 0xFFFF_FFFF, loan.epoch >> 32);
            let numbers = [
                loan.node,
                low,
                high,
                loan.seq.into(),
                loan.spent.0,
                loan.lent.0,
                loan.forfeited.0,
                loan.period.into(),
                loan.ends.0,
            ];
            packed.extend(pack(format(APPLY, "local LOAN"), &numbers));
        }
        for usage in &account.usage {
            packed.extend(pack(format(APPLY, "local USAGE"), &[usage.period.into(), usage.used.0]));
        }
        if has_floors {
            let floors = account.levels.map(|level| level.floor.0);
            packed.extend(pack(format(APPLY, "local FLOORS"), &floors));
        }
        if was_refilled {
            packed.extend(pack(format(APPLY, "local REFILLED"), &[account.refilled.0]));
        }
        repacked.push(packed);
    }
    // A tier without a month has no quota, whatever its bytes are.
    let quota = bytes.len().min(17 + usize::from(bytes[1] & 15) * 16 + 9);
    let is_same = |packed: &Vec<u8>| {
        *packed == bytes
            || monthly.is_none()
                && packed.len() == bytes.len()
                && packed[..quota - 8] == bytes[..quota - 8]
                && packed[quota..] == bytes[quota..]
    };
    assert!(repacked.iter().any(is_same), "{bytes:?} is read as {account:?} of {name:?}");
    Ok(())
}

/// Bytes that may be an account's.
fn account(dice: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let (levels, loans, months): (u8, u8, u8) =
        (dice.int_in_range(0..=4)?, dice.int_in_range(0..=3)?, dice.int_in_range(0..=3)?);
    let (has, name): (u8, Vec<u8>) = (dice.arbitrary()?, dice.arbitrary()?);
    let name = if has & 16 != 0 { name } else { Vec::new() };
    let mut bytes = vec![1, has & 0xF0 | levels];
    bytes.extend(dice.arbitrary::<[u8; 8]>()?);
    bytes.extend(pack("<HHHB", &[9 + 4, name.len() as u64, loans.into(), months.into()]));
    let mut fill = |count: usize| (0..count).map(|_| dice.arbitrary()).collect::<Result<Vec<u8>>>();
    bytes.extend(fill(usize::from(levels) * 16)?);
    bytes.extend(fill(9)?);
    bytes.extend(b"free");
    bytes.extend(name);
    bytes.extend(fill(usize::from(loans) * 54 + usize::from(months) * 10)?);
    bytes.extend(fill(if has & 32 != 0 { 24 } else { 0 } + if has & 64 != 0 { 8 } else { 0 })?);
    Ok(bytes)
}

/// Reads any reply with any reader.
fn hostile(dice: &mut Unstructured<'_>) -> Result<()> {
    let reply = value(dice, 5)?;
    let count = dice.int_in_range(0..=3)?;
    let asks = vec![Ask::Charge { cost: Cost(1) }; count];
    if let Some((_, answers)) = fuzzing::answers(reply.clone(), &asks) {
        assert_eq!(answers.len(), asks.len());
    }
    if let Some(ranges) = fuzzing::slots(&reply) {
        assert!(ranges.iter().all(|(.., name, _)| !name.is_empty()));
    }
    if let Some(lines) = fuzzing::lines(reply.clone()) {
        assert!(lines.is_sorted_by(|(one, _), (next, _)| one > next));
    }
    let _ = fuzzing::snapshot(reply);
    Ok(())
}

fn value(dice: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    let many = |dice: &mut Unstructured<'_>| {
        (0..dice.int_in_range(0..=5)?).map(|_| value(dice, depth - 1)).collect::<Result<Vec<Value>>>()
    };
    Ok(match dice.arbitrary::<u8>()? % if depth == 0 { 8 } else { 12 } {
        0 => Value::Nil,
        1 => Value::Int(dice.arbitrary()?),
        2 => Value::BulkString(dice.arbitrary()?),
        3 => Value::BulkString(dice.arbitrary::<u64>()?.to_string().into_bytes()),
        4 => Value::SimpleString(dice.arbitrary()?),
        5 => Value::Okay,
        6 => Value::Double(dice.arbitrary()?),
        7 => Value::Boolean(dice.arbitrary()?),
        8 => Value::Set(many(dice)?),
        9 => Value::Map(many(dice)?.into_iter().map(|value| (value.clone(), value)).collect()),
        _ => Value::Array(many(dice)?),
    })
}

/// Errors that redirect, and members of the sets of names.
fn texts(dice: &mut Unstructured<'_>) -> Result<()> {
    let (slot, port, is_asking): (u16, u16, bool) = dice.arbitrary()?;
    let id = ClientId(dice.arbitrary()?);
    assert_eq!(fuzzing::member(&id.to_string()), Some(id));
    let host = format!("node-{slot}.example");
    let error = format!("{} {slot} {host}:{port}", if is_asking { "ASK" } else { "MOVED" });
    assert_eq!(fuzzing::redirection(&error), Some((host, port, is_asking)));
    let text: String = String::arbitrary_take_rest(std::mem::replace(dice, Unstructured::new(&[])))?;
    let _ = fuzzing::redirection(&text);
    if let Some(id) = fuzzing::member(&text) {
        assert_eq!(id.to_string(), text, "one client has one name");
    }
    Ok(())
}

/// The format in the line of `script` that contains `what`: the text in its first quotes.
fn format(script: &'static str, what: &str) -> &'static str {
    let line = script.lines().find(|line| line.contains(what)).expect("the script has such a line");
    line.split('\'').nth(1).expect("a format in quotes")
}

/// The sizes of a format of Lua's `struct`, little-endian: `B`, `H`, `I4`, `I8`, and `i8` and `c8`, whose bits are read as a
/// number here, too.
fn sizes(format: &str) -> impl Iterator<Item = usize> + '_ {
    let mut left = format.strip_prefix('<').expect("little-endian").chars().peekable();
    std::iter::from_fn(move || {
        let kind = left.next()?;
        let digit = left.next_if(char::is_ascii_digit).and_then(|digit| digit.to_digit(10));
        match (kind, digit) {
            ('B', None) => Some(1),
            ('H', None) => Some(2),
            ('I' | 'i' | 'c', Some(size)) => Some(size as usize),
            other => panic!("{other:?} is not known here"),
        }
    })
}

/// Takes the values of `format` off the front.
fn unpack(format: &str, bytes: &mut &[u8]) -> Vec<u64> {
    let take = |size: usize| {
        let (taken, rest) = bytes.split_at(size);
        *bytes = rest;
        taken.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
    };
    sizes(format).map(take).collect()
}

fn pack(format: &str, numbers: &[u64]) -> Vec<u8> {
    assert_eq!(sizes(format).count(), numbers.len());
    sizes(format)
        .zip(numbers)
        .flat_map(|(size, number)| number.to_le_bytes().into_iter().take(size))
        .collect()
}

/// Takes all bytes that are left.
trait Rest {
    fn take_rest_bytes(&mut self) -> Vec<u8>;
}

impl Rest for Unstructured<'_> {
    fn take_rest_bytes(&mut self) -> Vec<u8> {
        std::mem::replace(self, Unstructured::new(&[])).take_rest().to_vec()
    }
}
