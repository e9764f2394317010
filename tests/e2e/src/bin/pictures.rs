//! Draws `docs/pictures/dashboard-*.png` with `monitoring/draw.py`: the last ten minutes of a short day. `make pictures` gives
//! it a Python with the plotting library.

use std::process::{Command, ExitCode};

use tollgate_e2e::monitoring::stage::Stage;
use tollgate_testkit::workspace;

fn main() -> std::io::Result<ExitCode> {
    let stage = Stage::build();
    println!("a quarter of an hour under load, then the pictures");
    let mut draw = Command::new(workspace::root().join(".cache/pictures/bin/python"));
    draw.arg(workspace::root().join("monitoring/draw.py"));
    draw.arg(stage.prometheus.url()).arg(workspace::root().join("docs/pictures"));
    let drawn = stage.live_through_a_day(|| draw.status())?;
    Ok(if drawn.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
