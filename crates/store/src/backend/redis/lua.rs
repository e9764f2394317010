//! The constants that the Lua scripts share with the Rust code.
//!
//! A script names them, and their values are put in the places of the names when the script is built. So each number is
//! said once, in Rust, and costs a script nothing: each local that its functions share would make every EVALSHA slower.
//! A script's digest, and with it the name of its function, is that of the text with the values. So a store with other
//! numbers calls another function.

use tollgate_core::terms::EXACT;
use tollgate_core::units::{MILLI_PER_UNIT, Millis};
use tollgate_core::wire::LONGEST_EMPTY;

use crate::accounts::{self, CALM_AFTER, CALM_PART, RISE};
use crate::backend::{AUDIT_KEPT, CHANGES_REMEMBERED, CONSUMER_KEPT, NOTICES_REMEMBERED};

/// The first byte of every account.
pub(super) const ACCOUNT_VERSION: u8 = 1;

/// The flag in an account's second byte that says that the client has a name. The count of levels is beside it.
pub(super) const HAS_NAME: u8 = 16;

/// The flag beside it that says that something once came back to a bucket, so that the account ends in bounds of the past.
pub(super) const HAS_FLOORS: u8 = 32;

/// The flag beside it that says that the buckets were just reset, and when.
pub(super) const WAS_REFILLED: u8 = 64;

/// The first byte of every reservation.
pub(super) const RESERVATION_VERSION: u8 = 1;

/// The first byte of an entry: what is asked for.
pub(super) mod ask {
    pub const LEASE: u8 = 0;
    pub const CHARGE: u8 = 1;
    pub const RESET: u8 = 2;
    /// A lease of whose spending something has come back.
    pub const RETURN: u8 = 3;
    pub const RESERVE: u8 = 4;
    pub const SETTLE: u8 = 5;
}

/// The second byte of an entry: flags.
pub(super) mod flag {
    pub const ANONYMOUS: u8 = 1;
    pub const NAMED: u8 = 2;
    /// For a reset.
    pub const BUCKET: u8 = 4;
    /// For a reset.
    pub const MONTH: u8 = 8;
}

/// The first byte of an answer.
pub(super) mod status {
    pub const GRANTED: u8 = 0;
    pub const STALE: u8 = 1;
    pub const DAMAGED: u8 = 2;
    pub const ABSENT: u8 = 3;
    /// A reservation that the limits refuse.
    pub const DENIED: u8 = 4;
    /// A client that has too many reservations.
    pub const TOO_MANY: u8 = 5;
    /// A reservation that was made, or settled, by an earlier call.
    pub const REPEATED: u8 = 6;
}

/// The flags of a refusal. The lowest bits are the limits.
pub(super) mod refusal {
    pub const LIMITS: u8 = 7;
    pub const MONTH: u8 = 8;
    pub const NEVER: u8 = 16;
    pub const REFUSED: u8 = 128;
}

/// The kinds of rows in the lists of changes and of notices.
pub(super) mod change {
    pub const OVERRIDE: char = 'c';
    pub const REMOVAL: char = 'd';
    pub const RESET: char = 'r';
}

/// `script` with the constants of accounts.
pub(super) fn of_accounts(script: &str) -> String {
    fill_in(script, &account_constants())
}

/// `script` with the constants of a namespace's overrides, resets and audit log.
pub(super) fn of_namespaces(script: &str) -> String {
    fill_in(script, &namespace_constants())
}

type Constants = Vec<(&'static str, String)>;

fn account_constants() -> Constants {
    // A consumer's expiry is set at most once a day, so it gets one day more.
    let consumer_kept = CONSUMER_KEPT.millis().plus(Millis(86_400_000));
    let numbers: &[(&str, u64)] = &[
        ("EXACT", EXACT),
        ("UNIT", MILLI_PER_UNIT),
        ("LEASE_TTL", accounts::LEASE_TTL.0),
        ("CALM_TTL", accounts::CALM_TTL.0),
        ("CALM_AFTER", CALM_AFTER.0),
        ("CALM_PART", CALM_PART),
        ("IDLE_SCARCE_MS", accounts::IDLE_SCARCE.0),
        ("IDLE_MS", accounts::IDLE.0),
        ("IDLE_CALM_MS", accounts::IDLE_CALM.0),
        ("IDLE_PATIENT_MS", accounts::IDLE_PATIENT.0),
        ("SHARE", accounts::SHARE),
        ("REMEMBERED", accounts::REMEMBERED.0),
        ("MAX_LOANS", accounts::MAX_LOANS as u64),
        ("MONTHS_KEPT", accounts::MONTHS_KEPT.into()),
        ("FIRST_DAY", accounts::FIRST_DAY.into()),
        ("CLOCK_SKEW", accounts::CLOCK_SKEW.0),
        ("LONGEST_EMPTY", LONGEST_EMPTY.0),
        ("CONSUMER_KEPT_MS", consumer_kept.0),
        ("ACCOUNT_VERSION", ACCOUNT_VERSION.into()),
        ("HAS_NAME", HAS_NAME.into()),
        ("HAS_FLOORS", HAS_FLOORS.into()),
        ("WAS_REFILLED", WAS_REFILLED.into()),
        ("RISE", RISE),
        ("ASK_LEASE", ask::LEASE.into()),
        ("ASK_RESET", ask::RESET.into()),
        ("ASK_RETURN", ask::RETURN.into()),
        ("ASK_CHARGE", ask::CHARGE.into()),
        ("ASK_RESERVE", ask::RESERVE.into()),
        ("ANONYMOUS", flag::ANONYMOUS.into()),
        ("NAMED", flag::NAMED.into()),
        ("RESET_BUCKET", flag::BUCKET.into()),
        ("RESET_MONTH", flag::MONTH.into()),
        ("GRANTED", status::GRANTED.into()),
        ("STALE", status::STALE.into()),
        ("DAMAGED", status::DAMAGED.into()),
        ("ABSENT", status::ABSENT.into()),
        ("DENIED", status::DENIED.into()),
        ("TOO_MANY", status::TOO_MANY.into()),
        ("REPEATED", status::REPEATED.into()),
        ("RESERVATION_VERSION", RESERVATION_VERSION.into()),
        ("LATE", accounts::LATE.0),
        ("MINUTE", accounts::MINUTE.0),
        ("MAX_RESERVATIONS", accounts::MAX_RESERVATIONS.into()),
        ("REFUSED_BY_MONTH", refusal::MONTH.into()),
        ("REFUSED_FOREVER", refusal::NEVER.into()),
        ("REFUSED", refusal::REFUSED.into()),
    ];
    numbers.iter().map(|(name, number)| (*name, number.to_string())).collect()
}

fn namespace_constants() -> Constants {
    let letter = |letter: char| format!("'{letter}'");
    vec![
        ("AUDIT_KEPT", AUDIT_KEPT.to_string()),
        ("CHANGES_REMEMBERED", CHANGES_REMEMBERED.to_string()),
        ("NOTICES_REMEMBERED", NOTICES_REMEMBERED.to_string()),
        ("CHANGED_OVERRIDE", letter(change::OVERRIDE)),
        ("CHANGED_REMOVAL", letter(change::REMOVAL)),
        ("CHANGED_RESET", letter(change::RESET)),
    ]
}

/// `script` with values in the places of the constants' names.
fn fill_in(script: &str, constants: &[(&str, String)]) -> String {
    let is_separator = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    let words = script.split_inclusive(is_separator).flat_map(|piece| {
        let word = piece.trim_end_matches(is_separator);
        let value = constants.iter().find(|(name, _)| *name == word).map_or(word, |(_, value)| value);
        [value, piece.strip_prefix(word).unwrap_or_default()]
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    const OF_ACCOUNTS: &str = concat!(
        include_str!("../../../scripts/charge.lua"),
        include_str!("../../../scripts/account.lua"),
        include_str!("../../../scripts/apply.lua"),
        include_str!("../../../scripts/reserve.lua")
    );
    const OF_NAMESPACES: &str =
        concat!(include_str!("../../../scripts/change.lua"), include_str!("../../../scripts/snapshot.lua"));

    /// The words of a script, without its comments.
    fn words(script: &str) -> Vec<&str> {
        let code = script.lines().map(|line| line.split("--").next().unwrap_or_default());
        code.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')).collect()
    }

    #[test]
    fn every_constant_is_used_by_a_script_and_defined_by_none() {
        for (constants, script) in
            [(account_constants(), OF_ACCOUNTS), (namespace_constants(), OF_NAMESPACES)]
        {
            let used = words(script);
            for (name, _) in constants {
                assert!(used.contains(&name), "{name} is not used");
                assert!(!script.contains(&format!("local {name} =")), "{name} is defined in Lua, too");
            }
        }
    }

    #[test]
    fn every_number_is_one_that_lua_keeps_exactly() {
        for (name, number) in account_constants() {
            assert!(number.parse::<u64>().unwrap() <= EXACT, "{name}");
        }
    }

    #[test]
    fn only_whole_words_are_constants() {
        let constants = [("SHARE", "4".to_owned()), ("SHARES", "5".to_owned())];
        assert_eq!(fill_in("SHARE+SHARES*MY_SHARE\n'é', SHARE", &constants), "4+5*MY_SHARE\n'é', 4");
    }

    #[test]
    fn a_store_with_another_constant_calls_another_function() {
        let with = |share: u8| {
            let first = fill_in("local function one() return SHARE end", &[("SHARE", share.to_string())]);
            Script::kept((&first, "one"), ("", "one"))
        };
        assert_ne!(with(4).function_name(), with(5).function_name());
    }
}
