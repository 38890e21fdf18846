//! The end of a message: its drafts are named, those of one identity united, empty ones pruned, gaps completed, and
//! what nobody used is told.

use crate::convert::without_controls;
use crate::engine::{Draft, MapError, Mapped};
use crate::escape;
use crate::identity::Identity;
use crate::maps::CODING_SYSTEMS;
use crate::overlay::Policy;
use crate::path::{Label, Place};
use crate::r4;
use crate::report::{self, Finding, Note, Report};
use crate::run::{Run, Work};
use crate::tree::{Id, Key, Mark, Reason, Scalar, Tree};
use std::borrow::Cow;
use std::collections::HashMap;

/// What of a run goes into its result.
struct Remains<'a> {
    tree: Tree<'a>,
    notes: Vec<Note<'a>>,
    works: Vec<Work>,
    deleted: Vec<(u32, &'static str)>,
    gaps: Vec<(u32, &'static str)>,
}

impl<'a> Run<'a> {
    pub fn finish(mut self) -> Result<Mapped<'a>, MapError> {
        report::unused(&mut self);
        if self.set.policy == Policy::Extension {
            keep_unused(&mut self);
        }
        self.tree.settle();
        let identities = self.identities();
        let alias = self.aliases(&identities);
        self.check_links(&alias)?;
        self.unite(&alias);
        let kept = self.kept(&alias);
        if self.set.policy == Policy::Refuse {
            refuse_losses(&self)?;
        }
        let count = kept.iter().filter(|kept| **kept).count();
        if count == 0 {
            return Err(MapError::Nothing);
        }
        Ok(self.mapped(&alias, &kept, identities, count))
    }

    /// What stays when the work is done. The rest goes before the drafts come: a message has many.
    fn mapped(self, alias: &[usize], kept: &[bool], identities: Vec<Option<Identity>>, count: usize) -> Mapped<'a> {
        let Self { set, plan, message, zone, .. } = self;
        let Remains { tree, notes, works, deleted, gaps } = self.remains();
        let mut drafts = Vec::with_capacity(count);
        let mut number = Vec::with_capacity(kept.len());
        for ((work, identity), kept) in works.into_iter().zip(identities).zip(kept) {
            number.push(drafts.len() as u32);
            if *kept {
                let type_name = r4::model().at(work.kind).name;
                let (deleted, gaps) = (Vec::new(), Vec::new());
                drafts.push(Draft { type_name, identity, deleted, weak: work.weak, gaps, root: work.root });
            }
        }
        let of_kept = |draft: u32| kept[draft as usize].then_some(number[draft as usize] as usize);
        let told = |(draft, name)| Some((of_kept(draft)?, name));
        deleted.into_iter().filter_map(told).for_each(|(draft, name)| drafts[draft].deleted.push(name));
        gaps.into_iter().filter_map(told).for_each(|(draft, name)| drafts[draft].gaps.push(name));
        let numbers = alias.iter().map(|draft| number[*draft]).collect();
        Mapped { map: &plan.name, drafts, report: Report { set, message, notes }, tree, zone, numbers }
    }

    /// The rest of what the run had is given back here.
    fn remains(self) -> Remains<'a> {
        let Self { tree, notes, drafts: works, deleted, gaps, .. } = self;
        Remains { tree, notes, works, deleted, gaps }
    }

    /// Two drafts with one identity are one resource: the later one gives what the first lacks.
    fn unite(&mut self, alias: &[usize]) {
        let doubles: Vec<usize> = (0..alias.len()).filter(|draft| alias[*draft] != *draft).collect();
        if !doubles.is_empty() {
            // Before they are compared: references to one resource are the same reference.
            self.tree.relink(alias);
        }
        for later in doubles {
            self.tree.adopt(self.drafts[alias[later]].root, self.drafts[later].root);
        }
    }

    /// A patient who is linked to himself would be replaced by himself: the two numbers of a merge name one record.
    fn check_links(&self, alias: &[usize]) -> Result<(), MapError> {
        let is_patient = |draft: usize| r4::model().at(self.drafts[draft].kind).name == "Patient";
        let itself = |(from, to): &(usize, usize)| from != to && alias[*from] == alias[*to] && is_patient(*to);
        let Some((from, to)) = self.links().find(itself) else { return Ok(()) };
        let segment = self.message.segment(self.drafts[from.max(to)].segment as usize);
        Err(MapError::Itself(segment.map_or("", |s| s.name()).to_owned()))
    }

    fn links(&self) -> impl Iterator<Item = (usize, usize)> {
        self.links.iter().map(|(from, to)| (*from as usize, *to as usize))
    }

    /// For each draft the first one of its type and identity.
    fn aliases(&self, identities: &[Option<Identity>]) -> Vec<usize> {
        let mut first_of: HashMap<(u16, &Identity), usize, foldhash::fast::RandomState> = HashMap::default();
        first_of.reserve(identities.len());
        let mut alias = Vec::with_capacity(identities.len());
        for (draft, identity) in identities.iter().enumerate() {
            let key = identity.as_ref().map(|identity| (self.drafts[draft].kind.0, identity));
            alias.push(key.map_or(draft, |key| *first_of.entry(key).or_insert(draft)));
        }
        alias
    }

    /// Prunes and completes until no draft is empty or lacks what it must have, and no link leads nowhere: first all
    /// drafts, then again and again those that refer to one that went.
    fn kept(&mut self, alias: &[usize]) -> Vec<bool> {
        let mut kept: Vec<bool> = (0..self.drafts.len()).map(|d| alias[d] == d).collect();
        let mut round: Vec<usize> = (0..kept.len()).filter(|d| kept[*d]).collect();
        while !round.is_empty() {
            let before = kept.clone();
            // What refers to itself, as two drafts of one resource may, says nothing.
            round.iter().for_each(|d| kept[*d] = self.is_kept(*d, &|to: usize| before[alias[to]] && alias[to] != *d));
            let went = |draft: usize| before[draft] && !kept[draft];
            let links = self.links().map(|(from, to)| (alias[from], alias[to]));
            round = links.filter(|(from, to)| kept[*from] && went(*to)).map(|(from, _)| from).collect();
            round.sort_unstable();
            round.dedup();
        }
        kept
    }

    fn is_kept(&mut self, draft: usize, link_holds: &impl Fn(usize) -> bool) -> bool {
        let root = self.drafts[draft].root;
        let left_out = self.left_out;
        self.tree.prune(root, link_holds)
            && self.complete(draft)
            // What held an item that was left out may be empty now.
            && (self.left_out == left_out || self.tree.prune(root, link_holds))
    }
}

/// Keeps what is in no resource: values that no rule took or could use, and all of a segment without a place or a map.
fn keep_unused(run: &mut Run<'_>) {
    let lost = |note: &Note<'_>| match note.finding {
        finding if finding.is_of_segment() => {
            report::leaves_of(run, Place::of(run.message, note.place).segment as usize)
        }
        Finding::NoRow(_) if is_local(run, note) => Vec::new(),
        Finding::Unused | Finding::NoRow(_) => vec![note.place],
        Finding::Value(_) if note.finding.is_loss() => vec![note.place],
        _ => Vec::new(),
    };
    let mut marks: Vec<Mark> = run.notes.iter().flat_map(lost).take(MAX_EXTENSIONS).collect();
    marks.dedup();
    marks.into_iter().for_each(|mark| run.keep_in_extension(mark));
}

/// Refuses a message of which something is in no resource, but for what the maps leave alone on purpose and for `L`,
/// which says that a code has no coding system.
fn refuse_losses(run: &Run<'_>) -> Result<(), MapError> {
    let is_lost =
        |note: &&Note<'_>| note.finding.is_loss() && note.finding != Finding::LeftAlone && !is_local(run, note);
    let Some(note) = run.notes.iter().find(is_lost) else { return Ok(()) };
    let path = report::path(run.message, Place::of(run.message, note.place));
    Err(MapError::Unused(format!("{path}: {}", note.finding)))
}

fn is_local(run: &Run<'_>, note: &Note<'_>) -> bool {
    note.finding == Finding::NoRow(CODING_SYSTEMS) && run.look_at(note.place) == "L"
}

/// The most values of a message that are kept in extensions: more is a message without a map.
const MAX_EXTENSIONS: usize = 1_000;
/// An unmapped value: where it stood, and its text.
const UNMAPPED: &str = "https://medseal.dev/fhir/StructureDefinition/unmapped-value";

impl Run<'_> {
    /// Keeps a value in an extension of the resource that its segment made, or of the first one.
    fn keep_in_extension(&mut self, mark: Mark) {
        let place = Place::of(self.message, mark);
        let made = self.drafts.iter().position(|draft| draft.segment == place.segment);
        let Some(root) = self.drafts.get(made.unwrap_or(0)).map(|draft| draft.root) else { return };
        let text = self.look_at(mark).into_owned();
        let path = report::path(self.message, place);
        let reason = Reason { rule: self.set.known.unmapped.0, source: mark };
        let outer = self.new_extension(root, UNMAPPED, reason);
        for (url, value) in [("path", path), ("value", text)] {
            let inner = self.new_extension(outer, url, reason);
            let leaf = self.tree.field(inner, self.set.known.value_string);
            self.tree.set(leaf, &Scalar::Text(value.into()), reason);
        }
    }

    fn new_extension(&mut self, owner: Id, url: &'static str, reason: Reason) -> Id {
        let list = self.tree.field(owner, self.set.known.extension);
        let item = self.tree.item(list, Key::new(Label::New, 0, 0, &mut self.fresh));
        self.tree.make_object(item, self.set.known.extension_type);
        let leaf = self.tree.field(item, self.set.known.url);
        self.tree.set(leaf, &Scalar::Text(url.into()), reason);
        item
    }

    /// The decoded text of an unused leaf.
    fn look_at(&self, mark: Mark) -> Cow<'_, str> {
        let rest = self.message.text().get(mark.offset() as usize..).unwrap_or("");
        let signs = self.separators;
        let ends = |c: char| {
            let byte = u8::try_from(c).unwrap_or(0);
            matches!(c, '\r' | '\n')
                || [signs.field, signs.component, signs.repetition].contains(&byte)
                || Some(byte) == signs.subcomponent
        };
        let leaf = rest.split(ends).next().unwrap_or("");
        without_controls(escape::decode(leaf, &signs, self.context.charset))
    }
}
