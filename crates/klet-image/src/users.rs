//! `USER` and `runAsUser` names, looked up in the image's own `/etc/passwd` and `/etc/group`.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::merged::MergedView;

/// Whom a container runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// Numeric user, 0 to 2^31-1.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Groups whose member list names the user; sorted, without duplicates.
    pub additional_gids: Vec<u32>,
    /// Home directory, `/` if unknown.
    pub home: String,
    /// Login name, if `/etc/passwd` has one for the uid.
    pub name: Option<String>,
}

/// A user or group cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such name in `/etc/passwd`.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// No such name in `/etc/group`.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// A number outside 0 to 2^31-1.
    #[error("uid or gid {0} is out of range (0 to 2147483647)")]
    Range(String),
    /// More than one colon, or an empty part.
    #[error("user {0:?} is not of the form user[:group]")]
    Format(String),
    /// The file in the image is not a plain, reasonably small text file.
    #[error("image file /{file}: {reason}")]
    File {
        /// Path inside the image.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer cannot be read.
    #[error("cannot read /{file} of the image")]
    Io {
        /// Path inside the image.
        file: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Where the databases are in the image.
const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
/// Most of either file that is read.
const MAX_BYTES: u64 = 1 << 20;
const MAX_LINES: usize = 10_000;
/// Largest user or group id (Kubernetes validation: 0 to 2^31-1).
const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// Resolves `user[:group]`, each a name or a number; `layers` topmost first (a container's upper directory may lead).
///
/// An empty user is root. A number needs no entry in `/etc/passwd`; its group is then 0. A part that consists of
/// digits is a number, never a name. With an explicit group, no additional groups are given (docker's rule).
pub fn lookup(layers: &[PathBuf], user: &str) -> Result<UserInfo, UserError> {
    let (user, group) = split(user)?;
    let view = MergedView::open(layers).map_err(|source| UserError::Io { file: PASSWD, source })?;
    let accounts: Vec<Account> = read(&view, PASSWD)?.lines().filter_map(Account::parse).collect();
    let account = match number(user)? {
        Some(uid) => accounts
            .into_iter()
            .find(|account| account.uid == uid)
            .unwrap_or_else(|| Account::unknown(uid)),
        None => {
            let found = accounts.into_iter().find(|account| account.name.as_deref() == Some(user));
            found.ok_or_else(|| UserError::UnknownUser(user.to_owned()))?
        }
    };
    in_range(account.uid)?;
    let (gid, additional_gids) = groups(&view, &account, group)?;
    in_range(gid)?;
    Ok(UserInfo { uid: account.uid, gid, additional_gids, home: account.home, name: account.name })
}

fn split(text: &str) -> Result<(&str, Option<&str>), UserError> {
    let (user, group) =
        text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = if text.is_empty() { "0" } else { user };
    if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(UserError::Format(text.to_owned()));
    }
    Ok((user, group))
}

/// The number, if it is all digits; one that does not fit is an error, not a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|&id| id <= MAX_ID);
    id.map(Some).ok_or_else(|| UserError::Range(text.to_owned()))
}

fn in_range(id: u32) -> Result<(), UserError> {
    if id <= MAX_ID { Ok(()) } else { Err(UserError::Range(id.to_string())) }
}

fn groups(
    view: &MergedView,
    account: &Account,
    group: Option<&str>,
) -> Result<(u32, Vec<u32>), UserError> {
    if let Some(gid) = group.map(number).transpose()?.flatten() {
        return Ok((gid, Vec::new()));
    }
    let file = read(view, GROUP)?;
    let groups: Vec<Group<'_>> = file.lines().filter_map(Group::parse).collect();
    if let Some(name) = group {
        let found = groups.iter().find(|group| group.name == name);
        let found = found.ok_or_else(|| UserError::UnknownGroup(name.to_owned()))?;
        return Ok((found.gid, Vec::new()));
    }
    let member = |group: &&Group<'_>| {
        account.name.as_deref().is_some_and(|name| group.members.contains(&name))
    };
    let additional: BTreeSet<u32> = groups.iter().filter(member).map(|group| group.gid).collect();
    additional.iter().try_for_each(|&gid| in_range(gid))?;
    Ok((account.gid, additional.into_iter().collect()))
}

/// One line of `/etc/passwd` (passwd(5)).
struct Account {
    name: Option<String>,
    uid: u32,
    gid: u32,
    home: String,
}

impl Account {
    fn unknown(uid: u32) -> Self {
        Self { name: None, uid, gid: 0, home: "/".to_owned() }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) =
            (fields.first()?, fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        let home = fields.get(5).filter(|home| home.starts_with('/')).unwrap_or(&"/");
        (!name.is_empty() && !name.starts_with('#')).then(|| Self {
            name: Some((*name).to_owned()),
            uid,
            gid,
            home: (*home).to_owned(),
        })
    }
}

/// One line of `/etc/group` (group(5)).
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, gid) = (*fields.first()?, fields.get(2)?.parse().ok()?);
        let members =
            fields.get(3).map(|members| members.trim().split(',').collect()).unwrap_or_default();
        (!name.is_empty() && !name.starts_with('#')).then_some(Self { name, gid, members })
    }
}

/// A file of the merged root; empty if it does not exist.
fn read(view: &MergedView, file: &'static str) -> Result<String, UserError> {
    let failed = |source| UserError::Io { file, source };
    let refused = |reason: &str| UserError::File { file, reason: reason.to_owned() };
    let found = view.resolve(Path::new(file), true).map_err(failed)?.found;
    let Some(found) = found else { return Ok(String::new()) };
    if found.file_type() != FileType::RegularFile {
        return Err(refused("not a regular file"));
    }
    let opened = found.open().map_err(failed)?;
    if !opened.metadata().map_err(failed)?.is_file() {
        return Err(refused("not a regular file"));
    }
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refused("larger than 1 MiB"));
    }
    if bytes.iter().filter(|&&byte| byte == b'\n').count() > MAX_LINES {
        return Err(refused("more than 10000 lines"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
