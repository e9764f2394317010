//! `tollgate check` of any file: it ends, says something, and prints nothing that controls a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_cli::lint::{Kind, lint, policies};

fuzz_target!(|bytes: &[u8]| {
    let lines = lint(bytes);
    assert!(!lines.is_empty() && lines.len() <= 1_001);
    for line in &lines {
        let said = line.to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
        assert!(
            !said.contains(
                |char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
            ),
            "{said:?}"
        );
        assert!(line.number >= 1 && said.len() < 40_000);
    }
    // There is one verdict, which is the store's as well.
    let is_wrong = lines.iter().any(|line| line.kind == Kind::Wrong);
    assert!(!is_wrong || lines.iter().all(|line| line.kind != Kind::Passed));
    assert_eq!(policies(bytes).is_err(), is_wrong);
});
