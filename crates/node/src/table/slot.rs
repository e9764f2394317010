//! A slot's bytes: a head, and 7 records of one width. Numbers are little-endian.
//!
//! ```text
//! slot    0  4  magic "TGs" and the layout's number        record   0  16  client; zero in an empty way
//!         4 12  zero, for later layouts                            16   8  at, ns
//!        16 128 way 0                                              24  24  three levels, work
//!       144 128 way 1 …                                            48   8  used in the month 48 bits, month or day 16
//!       912     the end                                            56   8  spent 48, idle 8, whether asking 1, offer 7
//!                                                                  64   8  turn 48, checksum's upper half 16
//! amounts: thousandths of a unit                                   72   8  owed 40, returned 8, checksum's lower half 16
//! moments: of the node's clock                                      80   8  left 32, returned 20, since 12
//!                                                                  88   8  epoch 32, seq 32
//!                                                                  96   8  lease ends 32, asked 32
//!                                                                 104   8  refused: cost 24, limits 8, until 32
//!                                                                 112   8  the rates of two levels: units 30, period 2
//!                                                                 120   8  that of the third 32, tag of terms 24, fresh 8
//! ```
//!
//! The checksum is the record's, not the slot's: a decision never depends on another client's bytes, a torn slot cannot be
//! written back because its version has moved on, and to check 128 bytes takes a seventh of the time for 912.

use tollgate_core::account::Account;
use tollgate_core::limit::{Day, Level, Month, PackedRate};
use tollgate_core::terms::MAX_TAG;
use tollgate_core::units::{Cost, UnixNanos};

use super::fingerprint::Fingerprint;
use crate::clock::{Now, Tick};
use crate::lease::{LeaseState, Refused, Returns};

/// Records in a slot.
pub const WAYS: usize = 7;
/// A slot's size. With Kong's own 109 bytes it just fits a piece of 1,024.
pub const SLOT_BYTES: usize = HEAD_BYTES + WAYS * RECORD_BYTES;

const HEAD_BYTES: usize = 16;
const RECORD_BYTES: usize = WORDS * 8;
const WORDS: usize = 16;
const MAGIC: [u8; 4] = *b"TGs\x04";
/// Amounts have 48 bits, enough for 281 billion units.
const MAX_USED: u64 = (1 << 48) - 1;
/// The part of two words that is checked. Their upper 16 bits are the halves of the checksum.
const CHECKED: u64 = MAX_USED;

/// One client's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What it has spent, as far as this node knows.
    pub account: Account,
    /// What the store has lent it.
    pub lease: LeaseState,
}

impl State {
    /// Begins a new day, and a new month, if there is one at `now`: what was spent so far belongs to the one before.
    pub fn turn_to(&mut self, now: UnixNanos) {
        let day = Day::of(now);
        if day == self.lease.day {
            return;
        }
        self.lease.begin_day(day);
        let month = day.month();
        if month > self.account.month {
            self.account.month = month;
            self.account.used = Cost(0);
        }
    }
}

impl State {
    /// Corrects the day if it is later than at `now`, by the store's clock: a worker that the store had not answered yet went by
    /// the gateway's.
    pub fn turn_back_to(&mut self, now: UnixNanos) {
        let day = Day::of(now);
        if self.lease.day > day {
            self.lease.day = day;
            self.lease.spent_before_day = Cost(0);
            self.account.month = day.month();
        }
    }
}

/// A client's state, as a slot keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The client's bits.
    pub client: [u64; 2],
    /// Its state.
    pub state: State,
}

impl Record {
    /// The record of `state`.
    #[must_use]
    pub const fn new(client: &Fingerprint, state: State) -> Self {
        Self { client: client.bits, state }
    }

    /// What would be lost with it, in order of weight: whether it concerns the store, the month's use, and the time until its
    /// buckets are full. A record without any of these equals an absent one.
    fn worth(&self, now: u64, month: Month) -> (bool, u64, u64) {
        let State { account, lease } = &self.state;
        // With a store, the store keeps the month.
        let counts = account.used.0 > 0 && account.month >= month && lease.epoch == 0;
        let used = if counts { account.used.0 } else { 0 };
        (lease.is_worth_keeping(), used, account.full_at().seconds_rounded_up().saturating_sub(now))
    }

    /// Writes the record to its place.
    fn write(&self, place: &mut [u8; RECORD_BYTES]) {
        let State { account, lease } = &self.state;
        let [first, second] = self.client;
        let [a, b, c] = account.levels;
        let [of_a, of_b, of_c] = account.rates.map(|rate| rate.0);
        let amount = |amount: Cost| amount.0.min(MAX_USED);
        let narrow = |amount: Cost| u32::try_from(amount.0).unwrap_or(u32::MAX);
        let halves = |upper: u32, lower: u32| u64::from(upper) << 32 | u64::from(lower);
        let mut words: [u64; WORDS] = [
            first,
            second,
            account.at.0,
            a.0,
            b.0,
            c.0,
            u64::from(day_or_month(&self.state)) << 48 | amount(account.used),
            u64::from(lease.offer & 127) << 57
                | u64::from(lease.is_asking) << 56
                | u64::from(lease.idle) << 48
                | amount(lease.spent),
            amount(lease.spent_before_day),
            (lease.returns.cost.0 & RETURNED_HIGH) << 20 | owed(lease),
            halves(
                (u32::from(lease.returns.since) << 20) | (lease.returns.cost.0 & RETURNED_LOW) as u32,
                narrow(lease.left),
            ),
            halves(lease.seq, lease.epoch),
            halves(lease.asked.0, lease.ends.0),
            halves(
                lease.refused.until.0,
                u32::from(lease.refused.limits) << 24 | narrow(lease.refused.cost.min(Refused::MAX_COST)),
            ),
            halves(of_b, of_a),
            halves(u32::from(lease.fresh) << 24 | lease.terms & MAX_TAG, of_c),
        ];
        let sum = u64::from(checksum(&words));
        let [.., turn, acked, _, _, _, _, _, _] = &mut words;
        *turn |= (sum >> 16) << 48;
        *acked |= (sum & 0xFFFF) << 48;
        for (place, word) in place.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
    }

    /// The record in `bytes`, unless they are torn or foreign.
    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let [
            first,
            second,
            at,
            a,
            b,
            c,
            month,
            spent,
            turn,
            acked,
            left,
            epoch,
            asked,
            refused,
            rates,
            terms,
        ] = words;
        if u64::from(checksum(&words)) != (turn >> 48) << 16 | acked >> 48 {
            return None;
        }
        let (upper, lower) = (|word: u64| (word >> 32) as u32, |word: u64| word as u32);
        let turned = (month >> 48) as u16;
        let (day, of_account) = match turned {
            FIRST_DAY.. => (Day(turned), Day(turned).month()),
            _ => (Day(0), Month(turned)),
        };
        let account = Account {
            at: UnixNanos(at),
            levels: [Level(a), Level(b), Level(c)],
            rates: [lower(rates), upper(rates), lower(terms)].map(PackedRate),
            month: of_account,
            used: Cost(month & MAX_USED),
        };
        let lease = LeaseState {
            epoch: lower(epoch),
            seq: upper(epoch),
            spent: Cost(spent & MAX_USED),
            spent_before_day: Cost(turn & MAX_USED),
            day,
            acked: acked_of(Cost(spent & MAX_USED), acked),
            left: Cost(lower(left).into()),
            ends: Tick(lower(asked)),
            asked: Tick(upper(asked)),
            is_asking: (spent >> 56) & 1 == 1,
            offer: (spent >> 57) as u8,
            idle: (spent >> 48) as u8,
            refused: Refused {
                cost: Cost(u64::from(lower(refused)) & Refused::MAX_COST.0),
                until: Tick(upper(refused)),
                limits: (lower(refused) >> 24) as u8,
            },
            terms: upper(terms) & MAX_TAG,
            fresh: (terms >> 56) as u8,
            returns: Returns {
                cost: Cost((acked >> 20) & RETURNED_HIGH | u64::from(upper(left)) & RETURNED_LOW),
                since: (left >> 52) as u16,
            },
        };
        Some(Self { client: [first, second], state: State { account, lease } })
    }
}

/// The first number that is a day and no month: in 1981, and in 2311.
const FIRST_DAY: u16 = 4_096;

/// The day of a client with a store, of which the month follows; the month of any other.
fn day_or_month(state: &State) -> u16 {
    let day = state.lease.day;
    if day.0 >= FIRST_DAY && day.month() == state.account.month { day.0 } else { state.account.month.0 }
}

/// What came back, of which the lower bits are in another word.
const RETURNED_LOW: u64 = (1 << 20) - 1;
const RETURNED_HIGH: u64 = 0xFF << 20;

/// What is owed has 40 bits in two's complement: 549 million units either way.
const MAX_OWED: i64 = (1 << 39) - 1;
const OWED: u64 = (1 << 40) - 1;

fn owed(lease: &LeaseState) -> u64 {
    let owed = lease.spent.0.wrapping_sub(lease.acked.0).cast_signed();
    owed.clamp(-MAX_OWED, MAX_OWED).cast_unsigned() & OWED
}

/// What is acknowledged of `spent`, by a word with what is owed.
const fn acked_of(spent: Cost, word: u64) -> Cost {
    let owed = (word << 24).cast_signed() >> 24;
    Cost(spent.0.wrapping_sub(owed.cast_unsigned()))
}

/// Tells torn and foreign bytes from a record, by multiplying and folding word by word. It keeps no secret.
fn checksum(words: &[u64; WORDS]) -> u32 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |sum: u64, word: u64| {
        let product = (sum ^ word).wrapping_mul(ODD);
        product ^ (product >> 29)
    };
    let [a, b, c, d, e, f, g, h, turn, acked, i, j, k, l, m, n] = *words;
    // The processor runs two chains side by side.
    let one = [a, c, e, g, turn & CHECKED, i, k, m].into_iter().fold(u64::from_le_bytes(*b"tollgate"), mix);
    let other = [b, d, f, h, acked & CHECKED, j, l, n].into_iter().fold(0, mix);
    (mix(one, other).wrapping_mul(ODD) >> 32) as u32
}

/// A slot without a record.
#[must_use]
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES];
    if let Some(magic) = bytes.first_chunk_mut() {
        *magic = MAGIC;
    }
    bytes
}

/// Whether `bytes` are a slot of this layout at all.
#[must_use]
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    bytes.len() == SLOT_BYTES && bytes.starts_with(&MAGIC)
}

/// The way and the record of `client`, if it has a valid one.
#[must_use]
pub(super) fn find(bytes: &[u8], client: &Fingerprint) -> Option<(usize, Record)> {
    let (way, record) = ways(bytes).iter().enumerate().find(|(_, record)| whose(record) == client.bits)?;
    Record::from_bytes(record).map(|record| (way, record))
}

/// The way that a client without a record takes, and whether a record that still means something is evicted for it.
#[must_use]
pub(super) fn way_for_newcomer(bytes: &[u8], now: Now) -> (usize, bool) {
    let (month, now) = (Month::of(now.unix), now.node.seconds());
    let mut least = (0, (true, u64::MAX, u64::MAX));
    for (way, record) in ways(bytes).iter().enumerate() {
        let worth = match Record::from_bytes(record) {
            Some(record) if record.client != [0, 0] => record.worth(now, month),
            // The way is empty, or its record is torn.
            _ => return (way, false),
        };
        if worth == (false, 0, 0) {
            return (way, false);
        }
        if worth < least.1 {
            least = (way, worth);
        }
    }
    (least.0, true)
}

/// Puts `record` into `way`.
pub(super) fn put(bytes: &mut [u8], way: usize, record: &Record) {
    if let Some(place) = bytes.get_mut(HEAD_BYTES..).and_then(|body| body.as_chunks_mut().0.get_mut(way)) {
        record.write(place);
    }
}

/// Every valid record of a slot.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = Record> + '_ {
    // Most ways are empty, and that check is faster than the checksum.
    ways(bytes).iter().filter(|way| whose(way) != [0, 0]).filter_map(Record::from_bytes)
}

fn ways(bytes: &[u8]) -> &[[u8; RECORD_BYTES]] {
    bytes.get(HEAD_BYTES..).unwrap_or_default().as_chunks().0
}

/// The client's bits in a record.
fn whose(record: &[u8; RECORD_BYTES]) -> [u64; 2] {
    match record.as_chunks().0 {
        [first, second, ..] => [u64::from_le_bytes(*first), u64::from_le_bytes(*second)],
        _ => [0, 0],
    }
}

#[cfg(test)]
mod tests;
