//! Where the invoices go, and what protects a sealed month.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use tollgate_billing::statement::Statement;
use tollgate_billing::{page, seal, table};

use super::Failure;
use super::settings::{Format, Invoice};

/// Where the invoices go.
pub enum Target {
    /// To standard output.
    Standard,
    /// To this file.
    File(PathBuf),
    /// To files in this directory.
    Directory(PathBuf),
}

/// Reads `--output`.
///
/// # Errors
/// The flags do not fit each other.
pub fn target(settings: &Invoice) -> Result<Target, Failure> {
    let many = settings.format == Format::Html && settings.customer.is_none();
    let Some(path) = &settings.output else {
        if many {
            let text = "HTML is a file per customer; write --output DIR, or --customer CUSTOMER for one page";
            return Err(Failure::Flag(text.to_owned()));
        }
        return Ok(Target::Standard);
    };
    let ends_as_one = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if many || settings.seal || ends_as_one || path.is_dir() {
        return Ok(Target::Directory(path.clone()));
    }
    Ok(Target::File(path.clone()))
}

/// Writes the invoices, and seals them if `sealing`. A sealed month is written as it was sealed.
///
/// # Errors
/// The month is sealed with another result, there is no such customer, or a file cannot be written.
pub fn write(
    settings: &Invoice,
    target: &Target,
    mut statement: Statement,
    sealing: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let directory = match target {
        Target::Standard => None,
        Target::File(file) => {
            file.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        }
        Target::Directory(directory) => {
            fs::create_dir_all(directory).map_err(|why| failed(directory, &why))?;
            Some(directory.as_path())
        }
    };
    // Held until the files are written: two runs at once would both find no sealed month.
    let lock = directory.map(locked).transpose()?;
    if let Some(directory) = directory {
        let file = directory.join(sealed_name(&statement));
        if let Some(sealed) = sealed(&file)? {
            let differences = seal::differences(&sealed, &statement);
            if !differences.is_empty() {
                return Err(Failure::Sealed(file, differences));
            }
            statement = sealed;
        } else if sealing {
            statement.sealed = true;
            put(&file, &json(&statement)?)?;
        }
    }
    let written = files(settings, target, &statement, out);
    drop(lock);
    written
}

fn files(
    settings: &Invoice,
    target: &Target,
    statement: &Statement,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let extension = settings.format.extension();
    let (name, shown) = match &settings.customer {
        None => (format!("invoices-{}", statement.month), statement.clone()),
        Some(customer) => {
            let place = statement.invoices.iter().position(|invoice| invoice.customer == *customer);
            let found =
                place.and_then(|place| Some((page::name(statement, place), statement.only(customer)?)));
            found.ok_or_else(|| {
                Failure::Impossible(format!("customer {customer} has no invoice for {}", statement.month))
            })?
        }
    };
    let text = match settings.format {
        Format::Json => json(&shown)?,
        Format::Csv => csv(&shown)?,
        Format::Html => html(settings, &shown)?,
    };
    match target {
        Target::Standard => out.write_all(&text).and_then(|()| out.flush()).map_err(Failure::Output),
        Target::File(file) => put(file, &text),
        Target::Directory(directory) => {
            if settings.format == Format::Html && settings.customer.is_none() {
                pages(directory, statement)?;
            }
            put(&directory.join(format!("{name}.{extension}")), &text)
        }
    }
}

/// One customer's page, or else the index.
fn html(settings: &Invoice, shown: &Statement) -> Result<Vec<u8>, Failure> {
    let page = match shown.invoices.first().filter(|_| settings.customer.is_some()) {
        Some(invoice) => page::invoice(shown, invoice),
        None => page::index(shown),
    };
    page.map(String::into_bytes).map_err(|why| Failure::Output(io::Error::other(why)))
}

/// Every customer's page. The month's earlier drafts go: there may have been more of them, or under other names.
fn pages(directory: &Path, statement: &Statement) -> Result<(), Failure> {
    let draft = page::draft_prefix(statement);
    for entry in fs::read_dir(directory).map_err(|why| failed(directory, &why))? {
        let entry = entry.map_err(|why| failed(directory, &why))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&draft)?.strip_suffix(".html"));
        if number
            .is_some_and(|number| number.len() >= 4 && number.bytes().all(|digit| digit.is_ascii_digit()))
        {
            fs::remove_file(entry.path()).map_err(|why| failed(&entry.path(), &why))?;
        }
    }
    for (place, invoice) in statement.invoices.iter().enumerate() {
        let text = page::invoice(statement, invoice).map_err(|why| Failure::Output(io::Error::other(why)))?;
        put(&directory.join(format!("{}.html", page::name(statement, place))), text.as_bytes())?;
    }
    Ok(())
}

fn json(statement: &Statement) -> Result<Vec<u8>, Failure> {
    let mut text = serde_json::to_vec_pretty(statement).map_err(|why| Failure::Output(why.into()))?;
    text.push(b'\n');
    Ok(text)
}

fn csv(statement: &Statement) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    table::write(statement, &mut text).map_err(Failure::Output)?;
    Ok(text)
}

/// The name of the file that seals a month. Until then, it may hold an unsealed result.
fn sealed_name(statement: &Statement) -> String {
    format!("invoices-{}.json", statement.month)
}

/// What `file` seals, if it is there and sealed.
fn sealed(file: &Path) -> Result<Option<Statement>, Failure> {
    let open = match File::open(file) {
        Ok(open) => open,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failed(file, &why)),
    };
    let statement: Statement = serde_json::from_reader(BufReader::new(open)).map_err(|why| {
        let text = format!(
            "it may seal the month, but is not a file that this command wrote ({why}); move it, or restore it"
        );
        Failure::File(file.to_owned(), text)
    })?;
    Ok(statement.sealed.then_some(statement))
}

/// Locks the directory against another run; the lock ends with the file, or with the process.
fn locked(directory: &Path) -> Result<File, Failure> {
    let file = File::open(directory).map_err(|why| failed(directory, &why))?;
    match file.lock() {
        // Some network file systems have no locks; one run at a time is then the user's care.
        Err(why) if why.kind() == io::ErrorKind::Unsupported => Ok(file),
        other => other.map(|()| file).map_err(|why| failed(directory, &why)),
    }
}

/// Writes a file so that it is there as a whole or not at all, even if the machine stops.
fn put(file: &Path, text: &[u8]) -> Result<(), Failure> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let part = file.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = File::create(&part).and_then(|mut open| {
        open.write_all(text)?;
        open.sync_all()?;
        fs::rename(&part, file)
    });
    written.map_err(|why| {
        // The cause is told; that a part of it may stay is not worth another message.
        let _ = fs::remove_file(&part);
        failed(file, &why)
    })
}

fn failed(file: &Path, why: &io::Error) -> Failure {
    Failure::File(file.to_owned(), why.to_string())
}
