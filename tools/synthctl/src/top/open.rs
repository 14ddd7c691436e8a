//! A path that is looked at in `top`: what it is, its assumptions, its code.

use crate::command;
use crate::error::Error;
use crate::module::Module;
use crate::status::Bailed;
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
    let folder = format!("processes/{pid}/fds/{fd}.{call}");
    let assumptions = module
        .text(&format!("{folder}/assumptions"))
        .unwrap_or_default();
    for line in assumptions.lines() {
        let wrapped = format!("    {}", wrap(line, 4));
        lines.extend(wrapped.lines().map(str::to_owned));
    }
    lines.push(String::new());
    let bailouts = module.text(&format!("{folder}/bailouts"));
    match bailouts.ok().and_then(|text| Bailed::parse(&text)) {
        None => lines.push("Why it gave calls back is not counted.".to_owned()),
        Some(bailouts) => {
            lines.push("Why it gave calls back:".to_owned());
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
