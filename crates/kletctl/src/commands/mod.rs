//! One file per verb.

pub(crate) mod api_resources;
pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
mod doctor;
pub(crate) mod edit;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod label;
pub(crate) mod logs;
pub(crate) mod patch;
pub(crate) mod replace;
pub(crate) mod reset;
pub(crate) mod run;
pub(crate) mod system;
pub(crate) mod timeline;
pub(crate) mod version;
pub(crate) mod wait;

use serde_json::Value;

use crate::context::{Context, namespace_of};
use crate::error::{Result, plain};
use crate::kinds::Kind;

/// `--dry-run`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DryRun {
    /// Do it.
    #[default]
    None,
    /// Print what would be sent.
    Client,
    /// Let the server check it, and keep nothing.
    Server,
}

impl DryRun {
    /// What follows `created` in a report.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }

    /// The query of a request that writes.
    pub(crate) fn query(self) -> Vec<(&'static str, &'static str)> {
        let mut query = vec![("fieldManager", "kletctl"), ("fieldValidation", "Strict")];
        if self == DryRun::Server {
            query.push(("dryRun", "All"));
        }
        query
    }
}

/// An object as it is created: `get -o yaml` of an object that was is a manifest, too, and the server
/// gives versions of its own.
pub(crate) fn anew(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    object
}

/// Settles the namespace of an object from a manifest, and sets it in the object.
pub(crate) fn settle_namespace(
    context: &Context,
    kind: &Kind,
    object: &mut Value,
) -> Result<String> {
    let own = namespace_of(object).to_owned();
    if !kind.namespaced {
        return Ok(own);
    }
    if let Some(asked) =
        context.namespace.as_deref().filter(|asked| !own.is_empty() && own != *asked)
    {
        return plain(format!(
            "the namespace from the provided object \"{own}\" does not match the namespace \
             \"{asked}\". You must pass '--namespace={own}' to perform this operation."
        ));
    }
    if own.is_empty() {
        object["metadata"]["namespace"] = context.namespace().into();
        return Ok(context.namespace().to_owned());
    }
    Ok(own)
}

/// The plural of one kind and names, for messages: `pods "x"`.
pub(crate) fn selector_query<'a>(
    labels: Option<&'a str>,
    fields: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let labels = labels.map(|labels| ("labelSelector", labels));
    let fields = fields.map(|fields| ("fieldSelector", fields));
    labels.into_iter().chain(fields).collect()
}

/// Asks before something that cannot be undone; without a terminal nobody can answer.
pub(crate) fn confirm(what: &str) -> Result {
    use std::io::{IsTerminal, Write, stderr, stdin};
    if !stdin().is_terminal() {
        return plain("standard input is no terminal to ask on: give --force to go ahead");
    }
    write!(stderr(), "{what} Go ahead? [y/N] ")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => plain("nothing was done"),
    }
}
