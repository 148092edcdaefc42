//! `edit`: an object as YAML in the user's editor, and what was changed sent as a patch.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use clap::Args;
use klet_api::patch;
use serde_json::{Value, json};

use crate::client::{STRATEGIC_PATCH, with_query};
use crate::context::{Context, Target, name_of, stamp, targets};
use crate::error::{Error, Result, plain};
use crate::output::{self, Format};

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

/// Options of `edit`.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// TYPE NAME or TYPE/NAME.
    #[arg(required = true)]
    args: Vec<String>,
    /// Output format of the result: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
}

/// What came back from the editor.
#[derive(Debug, PartialEq)]
enum Edited {
    /// Nothing, or nothing new.
    Same,
    Changed(Value),
    /// It cannot be read.
    Bad(String),
}

impl Edit {
    pub(crate) async fn run(self, context: &Context) -> Result {
        for target in targets(&self.args)? {
            self.one(context, &target).await?;
        }
        Ok(())
    }

    async fn one(&self, context: &Context, target: &Target) -> Result {
        let Some(name) = &target.name else {
            return plain("resource(s) were provided, but no name was specified");
        };
        let path = context.path(target.kind, name);
        let mut before = context.client.get(&path).await?;
        stamp(&mut before, target.kind);
        output::hide_managed_fields(&mut before);
        let file = temporary(name)?;
        let mut shown = klet_api::to_yaml::to_yaml(&before);
        let mut complaint: Option<String> = None;
        loop {
            let text = format!("{HEADER}{}{shown}", comment(complaint.as_deref()));
            std::fs::write(&file, &text)
                .map_err(|cause| Error::File { path: file.clone(), cause })?;
            open_editor(&file)?;
            let text = std::fs::read_to_string(&file)
                .map_err(|cause| Error::File { path: file.clone(), cause })?;
            let text = without_comments(&text);
            // The same mistake saved again means that the user gives up.
            if complaint.is_some() && text == shown {
                output::note(&format!(
                    "A copy of your changes has been stored to \"{}\"",
                    file.display()
                ));
                return plain("Edit cancelled, no valid changes were saved.");
            }
            let refused = match read(&text, &before) {
                Edited::Same => {
                    discard(&file);
                    output::note("Edit cancelled, no changes made.");
                    return Ok(());
                }
                Edited::Bad(why) => why,
                Edited::Changed(after) => {
                    match self.send(context, target, &path, &before, &after).await {
                        Ok(object) => {
                            discard(&file);
                            return output::report(&object, self.output.as_ref(), "edited");
                        }
                        Err(error @ Error::Status(_)) => error.to_string(),
                        Err(other) => return Err(other),
                    }
                }
            };
            // Without a person at the editor the next round would be the same.
            if !std::io::stdin().is_terminal() {
                discard(&file);
                return Err(Error::Verbatim(refused));
            }
            output::note(&refused);
            complaint = Some(refused);
            shown = text;
        }
    }

    async fn send(
        &self,
        context: &Context,
        target: &Target,
        path: &str,
        before: &Value,
        after: &Value,
    ) -> Result<Value> {
        if name_of(after) != name_of(before) || after["kind"] != before["kind"] {
            return plain("At least one of apiVersion, kind and name was changed");
        }
        let mut patch = patch::two_way(before, after, target.kind.kind)
            .map_err(|cause| Error::Plain(cause.to_string()))?;
        if patch == json!({}) {
            return Ok(before.clone());
        }
        // Whoever changed it in the meantime must not be overwritten unseen.
        patch["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        let path = with_query(path, &super::DryRun::None.query());
        let mut object = context.client.patch(&path, STRATEGIC_PATCH, &patch).await?;
        stamp(&mut object, target.kind);
        Ok(object)
    }
}

fn read(text: &str, before: &Value) -> Edited {
    if text.trim().is_empty() {
        return Edited::Same;
    }
    match klet_api::manifest::value(text, "EDIT") {
        Ok(after) if after == *before => Edited::Same,
        Ok(after) if after.is_object() => Edited::Changed(after),
        Ok(_) => Edited::Bad("error: the text is not an object".to_owned()),
        Err(cause) => Edited::Bad(format!("error: {cause}")),
    }
}

/// A file of our own that no one else can have put there.
fn temporary(name: &str) -> Result<std::path::PathBuf> {
    let directory = std::env::temp_dir();
    for number in 0..1000 {
        let path =
            directory.join(format!("kletctl-edit-{name}-{}-{number}.yaml", std::process::id()));
        let mut options = std::fs::File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.write(true).create_new(true).open(&path) {
            Ok(_) => return Ok(path),
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(Error::File { path, cause }),
        }
    }
    plain(format!("{}: no name is free for a temporary file", directory.display()))
}

fn discard(file: &Path) {
    // A file that stays in the temporary directory does no harm.
    let _stays = std::fs::remove_file(file);
}

fn open_editor(file: &Path) -> Result {
    let set = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = set("KUBE_EDITOR").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // The variable may hold options too, as for every program that starts an editor.
    let status =
        Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(file).status()?;
    match status.success() {
        true => Ok(()),
        false => plain(format!("there was a problem with the editor \"{editor}\"")),
    }
}

/// What went wrong the last time, as comment lines.
fn comment(complaint: Option<&str>) -> String {
    let Some(complaint) = complaint else { return String::new() };
    let mut out = Vec::new();
    for line in complaint.lines() {
        // Writing to memory cannot fail.
        let _infallible = writeln!(out, "# {line}");
    }
    out.extend_from_slice(b"#\n");
    String::from_utf8_lossy(&out).into_owned()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_count() {
        let before = json!({"kind": "Pod", "metadata": {"name": "x"}});
        let text = format!("{HEADER}{}", klet_api::to_yaml::to_yaml(&before));
        assert_eq!(read(&without_comments(&text), &before), Edited::Same);
        assert_eq!(read(&without_comments("# nothing\n"), &before), Edited::Same);
        let after = json!({"kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}});
        assert_eq!(read(&klet_api::to_yaml::to_yaml(&after), &before), Edited::Changed(after));
        assert!(matches!(read("a: [", &before), Edited::Bad(why) if why.contains("EDIT:1:")));
        assert!(matches!(read("- a\n", &before), Edited::Bad(_)));
    }

    #[test]
    fn complaints_are_comments() {
        assert_eq!(comment(Some("a\nb")), "# a\n# b\n#\n");
        assert_eq!(without_comments("# a\nb: 1\n  # kept\n"), "b: 1\n  # kept\n");
    }
}
