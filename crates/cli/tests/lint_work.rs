//! `tollgate check` on large files: its work grows in proportion to the file. The measure is what it allocates, which no
//! busy machine changes, rather than the time.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    unsafe_code,
    reason = "a test may stop where it fails; an allocator is unsafe, whatever it does"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tollgate_cli::lint::lint;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + bytes as u64));
}

// SAFETY: every call goes to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises hold for the system's allocator too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated(text: &str) -> u64 {
    let before = ALLOCATED.get();
    drop(lint(text.as_bytes()));
    ALLOCATED.get() - before
}

const POLICY: &str = "tiers: { free: { rate: 1/day } }\ndefault_tier: free\nanonymous: { rate: 1/day }\n";

/// Files of about `size` bytes, of kinds that have overwhelmed other readers.
fn shapes(size: usize) -> Vec<(&'static str, String)> {
    let times = |text: &str| text.repeat(size / text.len());
    let numbered = |line: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for i in 0.. {
            if text.len() >= size {
                break;
            }
            text.push_str(&line(i));
        }
        text
    };
    let half = size / 2;
    vec![
        ("many keys", format!("{POLICY}more:\n{}", numbered(&|i| format!("  k{i}: {i}\n")))),
        ("many entries", format!("{POLICY}more:\n{}", times("- a\n"))),
        ("a long list in one line", format!("{POLICY}more: [{}]\n", times("a, "))),
        (
            "a long mapping in one line",
            format!("{POLICY}more: {{{}}}\n", numbered(&|i| format!("k{i}: 1, "))),
        ),
        ("the same key", format!("{POLICY}{}", times("a: 1\n"))),
        (
            "a long key above many",
            format!("{POLICY}? {}\n: [{}]\n", "k".repeat(half), "[a], ".repeat(half / 5)),
        ),
        ("the same key below a long one", format!("{}: {{{}}}\n", "k".repeat(900), times("a: 1, "))),
        ("a long text", format!("{POLICY}more: {}\n", "x".repeat(size))),
        ("long lines of a text", format!("{POLICY}more: |\n{}", times("  some words in a line\n"))),
        ("a text over many lines", format!("{POLICY}more: >\n{}", times("  some words in a line\n\n"))),
        ("a plain text over many lines", format!("{POLICY}more:\n{}", times("  some words in a line\n"))),
        (
            "a quoted text over many lines",
            format!("{POLICY}more: \"{}\"\n", times("some \\u0041 words \\n\n  ")),
        ),
        ("comments", format!("{}{POLICY}", times("# nothing to see here\n"))),
        ("empty lines", format!("{}{POLICY}", times("\n"))),
        ("documents", times("---\na: 1\n")),
        ("anchors", format!("{POLICY}more:\n{}", numbered(&|i| format!("- &a{i} x\n")))),
        ("aliases", format!("a: &a [x]\n{POLICY}more:\n{}", times("- *a\n"))),
        ("merges", format!("a: &a {{ x: 1, y: 2 }}\n{POLICY}more:\n{}", times("- { <<: *a }\n"))),
        (
            "many in one merge",
            format!(
                "a: &a {{ {} }}\nb: {{ <<: *a, {} }}\n",
                numbered(&|i| format!("k{i}: 1, ")),
                numbered(&|i| format!("j{i}: 1, "))
            ),
        ),
        ("filters without a policy", format!("filters:\n{}", times("- name: tollgate\n"))),
        (
            "filters with one",
            format!(
                "filters:\n{}",
                times(
                    "- { name: tollgate, config: { tiers: { free: { rate: 1/day } }, default_tier: free, anonymous: { rate: 1/day } } }\n"
                )
            ),
        ),
        (
            "filters with one that is an alias",
            format!(
                "a: &a {{ tiers: {{ free: {{ rate: [{}] }} }} }}\nfilters:\n{}",
                "1/day, ".repeat(half / 7),
                "- { name: tollgate, config: *a }\n".repeat(half / 32)
            ),
        ),
        (
            "tiers",
            format!(
                "default_tier: free\nanonymous: {{ rate: 1/day }}\ntiers:\n{}",
                numbered(&|i| format!("  t{i}: {{ rate: 1/dy }}\n"))
            ),
        ),
        (
            "endpoints",
            format!("{POLICY}endpoints:\n{}", numbered(&|i| format!("- {{ path: b{i}, cost: x }}\n"))),
        ),
        (
            "overrides",
            format!("{POLICY}overrides:\n{}", numbered(&|i| format!("- {{ consumer: c{i}, tier: gone }}\n"))),
        ),
        (
            "clusters",
            format!("static_resources:\n  clusters:\n{}", numbered(&|i| format!("  - {{ name: c{i} }}\n"))),
        ),
        ("brackets", times("[")),
        ("braces", times("{a: ")),
        ("dashes", times("- ")),
        ("question marks", times("? ")),
        ("quotes", times("\"")),
        ("tabs", format!("a:{}", times("\t"))),
    ]
}

#[test]
fn twice_the_file_is_twice_the_work() {
    const SIZE: usize = 64 << 10;
    for ((shape, once), (_, twice)) in shapes(SIZE).into_iter().zip(shapes(2 * SIZE)) {
        let (once, twice) = (allocated(&once), allocated(&twice));
        // Tables double their capacity in steps, and bounded work stays bounded.
        assert!(twice <= once * 3 + (1 << 20), "{shape}: {once} bytes are allocated, then {twice}");
        assert!(twice <= 2 * SIZE as u64 * 2_000, "{shape}: {twice} bytes are allocated");
    }
}
