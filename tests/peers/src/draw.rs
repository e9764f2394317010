//! Draws the figure: a bar for each way to share a limit, whose length is what it admitted over what is allowed.
//!
//! It is a card with a background of its own, light or dark as the reader's system is, so that it can be read on any page. What
//! is beyond the limit is hatched, and every bar has its number, so it works without color.

use std::fmt::Write;

use crate::NODES;
use crate::row::{Algorithm, Measured, Row};
use crate::workload::Scenario;

const WIDTH: usize = 860;
/// Where the bars begin; each number of gateways has a panel.
const PANELS: [usize; 2] = [262, 572];
/// The length of a bar of 1.
const UNIT: f64 = 46.0;
const ROW: usize = 21;
const BAR: usize = 13;
/// The space above the first scenario.
const HEAD: usize = 88;
/// The height of a scenario's own line, and the space after its rows.
const TITLE: usize = 26;
const GAP: usize = 12;
const FOOT: usize = 58;

const STYLE: &str = "
    .card { fill: #ffffff; stroke: #d0d7de }
    text { fill: #1f2328 }
    .dim { fill: #59636e }
    .grid { stroke: #d0d7de }
    .limit { stroke: #1f2328; stroke-dasharray: 4 3 }
    .bar { fill: #8c959f }
    .ours { fill: #0969da }
    .over { fill: url(#hatch); stroke: #bc4c00 }
    .hatching { stroke: #bc4c00 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d }
      text { fill: #f0f6fc }
      .dim { fill: #9198a1 }
      .grid { stroke: #3d444d }
      .limit { stroke: #f0f6fc }
      .bar { fill: #656c76 }
      .ours { fill: #4493f8 }
      .over { stroke: #db6d28 }
      .hatching { stroke: #db6d28 }
    }";

/// What one way admitted, ready to draw.
struct Bar {
    algorithm: Algorithm,
    scenario: Scenario,
    panel: usize,
    ratio: f64,
}

/// Draws the figure of the peers' rows, and of Tollgate's if there are any.
///
/// # Errors
/// If a row of Tollgate's has no place in the figure.
pub fn figure(peers: &[Row], tollgate: &[Measured]) -> Result<String, String> {
    let ours = tollgate
        .iter()
        .map(|row| (Algorithm::Tollgate, row.scenario.as_str(), row.nodes, row.admitted, row.allowed));
    let theirs = peers.iter().map(|row| (row.algorithm, row.scenario, row.nodes, row.admitted, row.allowed));
    let bars: Vec<Bar> = ours
        .chain(theirs)
        .map(|(algorithm, name, nodes, admitted, allowed)| {
            let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
            let panel = NODES.iter().position(|number| *number == nodes);
            let (Some(scenario), Some(panel)) = (scenario, panel) else {
                return Err(format!("no place in the figure for scenario {name:?} with {nodes} gateways"));
            };
            Ok(Bar { algorithm, scenario, panel, ratio: admitted as f64 / allowed as f64 })
        })
        .collect::<Result<_, _>>()?;
    Ok(draw(&bars))
}

fn draw(bars: &[Bar]) -> String {
    let shown: Vec<Algorithm> =
        Algorithm::ALL.into_iter().filter(|shown| bars.iter().any(|bar| bar.algorithm == *shown)).collect();
    let group = TITLE + shown.len() * ROW + GAP;
    let height = HEAD + Scenario::ALL.len() * group + FOOT;
    let mut out = String::new();
    // Writing to a text cannot fail.
    let mut put = |line: std::fmt::Arguments<'_>| _ = writeln!(out, "{line}");
    put(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12.5">"#
    ));
    put(format_args!("  <title>Admitted over allowed, for ways to share one limit between gateways</title>"));
    put(format_args!("  <style>{STYLE}\n  </style>"));
    put(format_args!(
        r#"  <defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatching" d="M0 0V5" stroke-width="3"/></pattern></defs>"#
    ));
    put(format_args!(
        r#"  <rect class="card" x="0.5" y="0.5" width="{}" height="{}" rx="8"/>"#,
        WIDTH - 1,
        height - 1
    ));
    put(format_args!(
        r#"  <text x="20" y="30" font-size="15" font-weight="bold">Admitted cost over allowed cost, at five times the limit</text>"#
    ));
    for (x, nodes) in PANELS.iter().zip(NODES) {
        put(format_args!(r#"  <text x="{x}" y="58" font-weight="bold">{nodes} gateways</text>"#));
    }
    for x in PANELS {
        for number in 0..=5_usize {
            let at = x as f64 + number as f64 * UNIT;
            put(format_args!(
                r#"  <text class="dim" x="{at:.1}" y="{}" text-anchor="middle">{number}</text>"#,
                HEAD - 12
            ));
        }
    }
    for (place, scenario) in Scenario::ALL.into_iter().enumerate() {
        let top = HEAD + place * group;
        put(format_args!(
            r#"  <text x="20" y="{}" font-weight="bold">{}</text>"#,
            top + 16,
            scenario.title()
        ));
        // Only behind the rows: a line through a title would be hard to read.
        for x in PANELS {
            for number in 0..=5_usize {
                let at = x as f64 + number as f64 * UNIT;
                let class = if number == 1 { "limit" } else { "grid" };
                put(format_args!(
                    r#"  <path class="{class}" d="M{at:.1} {}v{}"/>"#,
                    top + TITLE - 4,
                    shown.len() * ROW
                ));
            }
        }
        for (row, algorithm) in shown.iter().enumerate() {
            let y = top + TITLE + row * ROW;
            put(format_args!(
                r#"  <text x="{}" y="{}" text-anchor="end">{}</text>"#,
                PANELS[0] - 10,
                y + 11,
                algorithm.title()
            ));
            let here = bars.iter().filter(|bar| bar.algorithm == *algorithm && bar.scenario == scenario);
            for bar in here {
                let x = PANELS.get(bar.panel).copied().unwrap_or_default() as f64;
                let class = if *algorithm == Algorithm::Tollgate { "bar ours" } else { "bar" };
                let within = bar.ratio.min(1.0) * UNIT;
                put(format_args!(
                    r#"  <rect class="{class}" x="{x:.1}" y="{y}" width="{within:.1}" height="{BAR}"/>"#
                ));
                let over = bar.ratio * UNIT - within;
                if over >= 0.05 {
                    put(format_args!(
                        r#"  <rect class="over" x="{:.1}" y="{y}" width="{over:.1}" height="{BAR}"/>"#,
                        x + within
                    ));
                }
                put(format_args!(
                    r#"  <text x="{:.1}" y="{}">{:.3}</text>"#,
                    x + bar.ratio.max(1.0) * UNIT + 6.0,
                    y + 11,
                    bar.ratio
                ));
            }
        }
    }
    for (line, text) in [
        "1 is what the limit allows: capacity + rate · t. Less: tokens that nobody could spend. More (hatched): beyond the limit.",
        "One client of 100 a minute with a burst of 150, offered 500 a minute for six hours.",
    ]
    .iter()
    .enumerate()
    {
        put(format_args!(r#"  <text class="dim" x="20" y="{}">{text}</text>"#, height - FOOT + 22 + line * 18));
    }
    put(format_args!("</svg>"));
    out
}
