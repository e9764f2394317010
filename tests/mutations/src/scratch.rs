//! A copy of the tree in which faults are made, with a target directory of its own, so that nobody can mistake what is built
//! from a fault for the product.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// See the [module](self).
pub struct Scratch {
    /// The project's files as they were, so that later edits do not change half of what is tested.
    files: BTreeMap<PathBuf, (Vec<u8>, Permissions)>,
    /// The copy.
    pub tree: PathBuf,
    /// Its target directory.
    pub target: PathBuf,
    logs: PathBuf,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ended by itself: whether with success.
    Exit(bool),
    /// It took too long and was killed.
    Late,
}

impl Scratch {
    /// Prepares a scratch for the project in `root`, below `place`.
    ///
    /// # Errors
    /// If files cannot be read or folders made.
    pub fn new(root: &Path, place: &Path) -> Result<Self> {
        let scratch = Self {
            files: read(root)?,
            tree: place.join("tree"),
            target: place.join("target"),
            logs: place.join("logs"),
        };
        for folder in [&scratch.tree, &scratch.target, &scratch.logs] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(scratch)
    }

    /// Makes the copy equal to the project's files. It leaves equal files alone, so that only what a fault has changed is built
    /// again.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn restore(&self) -> Result<()> {
        for (path, (bytes, permissions)) in &self.files {
            let to = self.tree.join(path);
            if fs::read(&to).is_ok_and(|old| old == *bytes) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&self.tree))?;
            fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
            fs::set_permissions(&to, permissions.clone())?;
        }
        for path in walk(&self.tree)? {
            if !self.files.contains_key(path.strip_prefix(&self.tree)?) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Makes the fault of `patch` in the copy.
    ///
    /// # Errors
    /// If the patch does not apply.
    pub fn apply(&self, patch: &str) -> Result<()> {
        let file = self.logs.join("fault.patch");
        fs::write(&file, patch)?;
        // The copy may lie within a repository, which git must not see: it would skip what that repository ignores.
        let applied = Command::new("git")
            .args(["apply", "-C1", "--recount"])
            .arg(&file)
            .current_dir(&self.tree)
            .env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree))
            .output()
            .context("git does not run")?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr).trim());
        Ok(())
    }

    /// Runs `command` in the copy; its output goes to the log called `log`, and is returned.
    ///
    /// # Errors
    /// If it does not run.
    pub fn run(&self, command: &mut Command, log: &str, most: Duration) -> Result<(End, String)> {
        let path = self.logs.join(log);
        let file = File::create(&path)?;
        let mut child = command
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} does not run", command.get_program().display()))?;
        let began = Instant::now();
        let end = loop {
            if let Some(status) = child.try_wait()? {
                break End::Exit(status.success());
            }
            if began.elapsed() > most {
                child.kill()?;
                child.wait()?;
                break End::Late;
            }
            #[expect(clippy::disallowed_methods, reason = "a child cannot be waited for with an end to it")]
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok((end, String::from_utf8_lossy(&fs::read(&path)?).into_owned()))
    }
}

/// The project's files, below `root`.
fn read(root: &Path) -> Result<BTreeMap<PathBuf, (Vec<u8>, Permissions)>> {
    let which = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(which).current_dir(root).output().context("git does not run")?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let mut files = BTreeMap::new();
    for path in String::from_utf8(listed.stdout)?.split('\0').filter(|path| !path.is_empty()) {
        let from = root.join(path);
        // The list may name a removed file. A link would lead out of the copy.
        if from.symlink_metadata().is_ok_and(|found| found.is_file()) {
            files.insert(path.into(), (fs::read(&from)?, fs::metadata(&from)?.permissions()));
        }
    }
    Ok(files)
}

/// All files below `folder`.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { all.extend(walk(&path)?) } else { all.push(path) }
    }
    Ok(all)
}
