//! The constants that the Lua scripts have in common with the Rust code.
//!
//! They are written before a script's text, so each number is said once, in Rust. The digest of a script, and with it the
//! name of its function, is that of the text with the constants: a store with other numbers calls another function.

use std::fmt::Write as _;

use tollgate_core::terms::EXACT;
use tollgate_core::units::{MILLI_PER_UNIT, Millis};
use tollgate_core::wire::LONGEST_EMPTY;

use crate::accounts::{self, CALM_AFTER, CALM_PART};
use crate::backend::{AUDIT_KEPT, CHANGES_REMEMBERED, CONSUMER_KEPT, NOTICES_REMEMBERED};

/// The first byte of every account.
pub(super) const ACCOUNT_VERSION: u8 = 1;

/// In an account's second byte, beside the count of its levels: the client has a name.
pub(super) const HAS_NAME: u8 = 16;

/// The first byte of an entry: what is asked for the client.
pub(super) mod ask {
    pub const LEASE: u8 = 0;
    pub const CHARGE: u8 = 1;
    pub const RESET: u8 = 2;
}

/// The flags of an entry, its second byte.
pub(super) mod flag {
    pub const ANONYMOUS: u8 = 1;
    pub const NAMED: u8 = 2;
    /// Of a reset.
    pub const BUCKET: u8 = 4;
    /// Of a reset.
    pub const MONTH: u8 = 8;
}

/// The first byte of an answer.
pub(super) mod status {
    pub const GRANTED: u8 = 0;
    pub const STALE: u8 = 1;
    pub const DAMAGED: u8 = 2;
    pub const ABSENT: u8 = 3;
}

/// The flags of a refusal; the bits below are those of the limits.
pub(super) mod refusal {
    pub const LIMITS: u8 = 7;
    pub const MONTH: u8 = 8;
    pub const NEVER: u8 = 16;
    pub const REFUSED: u8 = 128;
}

/// What kind of change a row of the changes, or of the notices, is.
pub(super) mod change {
    pub const OVERRIDE: char = 'c';
    pub const REMOVAL: char = 'd';
    pub const RESET: char = 'r';
}

/// The constants of the scripts that compute with accounts.
pub(super) fn of_accounts() -> String {
    // A consumer's expiry is set anew once a day at most, so it has a day more.
    let consumer_kept = CONSUMER_KEPT.millis().plus(Millis(86_400_000));
    lines(&[
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
        ("CLOCK_SKEW", accounts::CLOCK_SKEW.0),
        ("LONGEST_EMPTY", LONGEST_EMPTY.0),
        ("CONSUMER_KEPT_MS", consumer_kept.0),
        ("ACCOUNT_VERSION", ACCOUNT_VERSION.into()),
        ("HAS_NAME", HAS_NAME.into()),
        ("ASK_LEASE", ask::LEASE.into()),
        ("ASK_RESET", ask::RESET.into()),
        ("ASK_CHARGE", ask::CHARGE.into()),
        ("ANONYMOUS", flag::ANONYMOUS.into()),
        ("NAMED", flag::NAMED.into()),
        ("RESET_BUCKET", flag::BUCKET.into()),
        ("RESET_MONTH", flag::MONTH.into()),
        ("GRANTED", status::GRANTED.into()),
        ("STALE", status::STALE.into()),
        ("DAMAGED", status::DAMAGED.into()),
        ("ABSENT", status::ABSENT.into()),
        ("REFUSED_BY_MONTH", refusal::MONTH.into()),
        ("REFUSED_FOREVER", refusal::NEVER.into()),
        ("REFUSED", refusal::REFUSED.into()),
    ])
}

/// The constants of the scripts that read and change a namespace's overrides, resets and audit log.
pub(super) fn of_namespaces() -> String {
    let kinds = [
        ("CHANGED_OVERRIDE", change::OVERRIDE),
        ("CHANGED_REMOVAL", change::REMOVAL),
        ("CHANGED_RESET", change::RESET),
    ];
    let mut text = lines(&[
        ("AUDIT_KEPT", AUDIT_KEPT),
        ("CHANGES_REMEMBERED", CHANGES_REMEMBERED),
        ("NOTICES_REMEMBERED", NOTICES_REMEMBERED as u64),
    ]);
    for (name, letter) in kinds {
        let _ = writeln!(text, "local {name} = '{letter}'");
    }
    text
}

fn lines(numbers: &[(&str, u64)]) -> String {
    numbers.iter().fold(String::new(), |mut text, (name, number)| {
        let _ = writeln!(text, "local {name} = {number}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    const OF_ACCOUNTS: &str = concat!(
        include_str!("../../../scripts/charge.lua"),
        include_str!("../../../scripts/account.lua"),
        include_str!("../../../scripts/apply.lua")
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
        for (constants, script) in [(of_accounts(), OF_ACCOUNTS), (of_namespaces(), OF_NAMESPACES)] {
            let used = words(script);
            for line in constants.lines() {
                let name = line.split(' ').nth(1).unwrap();
                assert!(used.contains(&name), "{name} is not used");
                assert!(!script.contains(&format!("local {name} =")), "{name} is defined in Lua, too");
            }
        }
    }

    #[test]
    fn every_number_is_one_that_lua_keeps_exactly() {
        for line in of_accounts().lines() {
            let number: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(number <= EXACT, "{line}");
        }
    }

    #[test]
    fn a_store_with_another_constant_calls_another_function() {
        let with =
            |constants: &str| Script::kept(constants, ("local function one() end", "one"), ("", "one"));
        let (ours, theirs) = (with("local SHARE = 4\n"), with("local SHARE = 5\n"));
        assert_ne!(ours.function_name(), theirs.function_name());
    }
}
