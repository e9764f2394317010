//! Checks that docs/ has what this program makes.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_peers::workload::Scenario;
use tollgate_peers::{NODES, draw, row};

const AGAIN: &str = "make figures writes it anew";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn tollgates() -> Vec<row::Measured> {
    serde_json::from_slice(&fs::read(docs("figures/tollgate.json")).unwrap()).unwrap()
}

#[test]
fn the_committed_numbers_and_figure_are_what_this_program_makes() {
    let peers = row::peers();
    let read = |name| fs::read_to_string(docs(name)).unwrap();
    assert!(read("figures/peers.json") == row::to_json(&peers).unwrap(), "docs/figures/peers.json: {AGAIN}");
    let figure = draw::figure(&peers, &tollgates()).unwrap();
    assert!(
        read("pictures/admitted-over-allowed.svg") == figure,
        "docs/pictures/admitted-over-allowed.svg: {AGAIN}"
    );
}

#[test]
fn tollgates_committed_rows_are_all_there_and_keep_what_it_promises() {
    let rows = tollgates();
    for scenario in Scenario::ALL {
        for nodes in NODES {
            let is_it = |row: &&row::Measured| row.scenario == scenario.name() && row.nodes == nodes;
            let row =
                rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {}, {nodes}", scenario.name()));
            let ratio = row.admitted as f64 / row.allowed as f64;
            let least = if scenario == Scenario::Moving { 0.95 } else { 0.99 };
            assert!((least..=1.0).contains(&ratio), "{row:?}: {AGAIN}");
        }
    }
}

#[test]
fn a_row_of_tollgates_that_has_no_place_is_an_error() {
    let row = row::Measured { scenario: "evening".into(), nodes: 3, admitted: 1, allowed: 1 };
    assert!(draw::figure(&[], &[row]).unwrap_err().contains("evening"));
}

#[test]
fn tollgates_rows_are_drawn_before_the_others() {
    let row = row::Measured { scenario: "even".into(), nodes: 10, admitted: 999, allowed: 1_000 };
    let figure = draw::figure(&row::peers(), &[row]).unwrap();
    assert!(figure.contains("Tollgate, leased") && figure.contains(">0.999</text>"));
}
