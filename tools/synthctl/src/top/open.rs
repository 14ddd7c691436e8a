//! A path that is looked at in `top`: what it is, its assumptions, its code.

use synthjit_engine::specs::Kept;

use crate::command;
use crate::error::Error;
use crate::module::Module;
use crate::status::{Bailed, Counts, Path};
use crate::text::wrap;

use super::model::Row;

/// The text, in lines.
pub fn text(module: &Module<'_>, row: &Row) -> Result<Vec<String>, Error> {
    let Row { pid, comm, .. } = row;
    let Some((fd, call)) = &row.path else {
        let why = match row.why.as_str() {
            "" => "it has no path: it has not read or written a pipe since it was attached",
            why => why,
        };
        let cure = crate::reason::cure(why);
        let mut lines = vec![format!("{pid} {comm}"), String::new()];
        lines.extend(wrap(why, 0).lines().map(str::to_owned));
        if !cure.is_empty() {
            lines.extend(wrap(&format!("cure: {cure}"), 0).lines().map(str::to_owned));
        }
        return Ok(lines);
    };
    let mut lines = vec![
        format!("{pid} {comm}, descriptor {fd}, {call}, {}", row.object),
        String::new(),
        "What it rests on:".to_owned(),
    ];
    let path = Path::read(module, *pid, &format!("{fd}.{call}"), &Counts::read(module));
    let spec = path
        .as_ref()
        .and_then(|path| command::kind(&path.spec).ok());
    for value in spec.iter().flat_map(|kind| kind.spec().values) {
        let line = match value.kept {
            Kept::Guard => format!("{}: guard: {}", value.name, value.doc),
            Kept::Watch => {
                let events = value.events.join(" ");
                format!("{}: watch {events}: {}", value.name, value.doc)
            }
            Kept::Always | Kept::Never => continue,
        };
        let wrapped = format!("    {}", wrap(&line, 4));
        lines.extend(wrapped.lines().map(str::to_owned));
    }
    lines.push(String::new());
    let counted = path.map(|path| (path.bailouts, path.bailed_out));
    match counted.unwrap_or_default() {
        (None, Some(count)) => lines.push(format!("{count} calls bailed out. Root sees why.")),
        (None, None) => lines.push("The path is gone.".to_owned()),
        (Some(bailouts), _) => {
            lines.push("Why calls bailed out:".to_owned());
            for Bailed {
                name,
                count,
                doc,
                cure,
            } in bailouts
            {
                let text = format!("{count} {name}: {doc} Cure: {cure}");
                let wrapped = format!("    {}", wrap(&text, 4));
                lines.extend(wrapped.lines().map(str::to_owned));
            }
        }
    }
    lines.push(String::new());
    match command::listing(module, *pid, *fd, call) {
        Ok((_, listing)) => lines.extend(listing.iter().map(ToString::to_string)),
        Err(error) => lines.extend(wrap(&error.to_string(), 0).lines().map(str::to_owned)),
    }
    Ok(lines)
}
