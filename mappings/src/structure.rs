//! Places the segments of a message in the groups of its structure. Real senders leave segments out,
//! add some, and change the order: each segment goes to the innermost group that can take it, a
//! group begins anew when its segment comes again, and what fits nowhere is told.

use crate::map_file::Part;
use crate::path::SegmentName;
use std::ops::Range;

/// One segment position of a message structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub segment: SegmentName,
    /// `PATIENT_RESULT.PATIENT.PID`.
    pub path: String,
    pub group: usize,
    pub repeats: bool,
    /// Every message of this structure has it.
    pub required: bool,
    /// Every instance of its group has it.
    must: bool,
}

/// One group; number 0 is the whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub parent: Option<usize>,
    /// The slots in it and in the groups inside it: they stand together.
    slots: Range<usize>,
    pub repeats: bool,
    pub required: bool,
}

/// A message structure, flattened in the order of the standard.
#[derive(Debug, Clone, Default)]
pub struct Structure {
    pub slots: Vec<Slot>,
    pub groups: Vec<Group>,
}

/// The groups around a segment with their instance numbers, outermost first.
pub type Chain = [(u16, u32)];

/// Where a segment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub slot: usize,
    /// The group that began anew with this segment.
    pub began: Option<usize>,
    /// Its chain in [`Placer::chains`].
    pub chain: Range<u32>,
}

impl Structure {
    /// Flattens the YAML form; the error is the name that is not one.
    pub fn new(parts: &[Part]) -> Result<Self, String> {
        let root = Group { parent: None, slots: 0..0, repeats: false, required: true };
        let mut structure = Self { slots: Vec::new(), groups: vec![root] };
        structure.add(parts, 0, "")?;
        Ok(structure)
    }

    fn add(&mut self, parts: &[Part], group: usize, prefix: &str) -> Result<(), String> {
        let start = self.slots.len();
        for part in parts {
            match part {
                Part::Segment(text) => self.add_slot(text, group, prefix)?,
                Part::Group(map) => {
                    for (text, inner) in map {
                        self.add_group(text, inner, group, prefix)?;
                    }
                }
            }
        }
        self.groups[group].slots = start..self.slots.len();
        Ok(())
    }

    fn add_slot(&mut self, text: &str, group: usize, prefix: &str) -> Result<(), String> {
        let (name, repeats) = cardinality(text);
        let segment = SegmentName::read(name).ok_or_else(|| text.to_owned())?;
        let must = !text.ends_with(['?', '*']);
        let required = must && self.groups[group].required;
        self.slots.push(Slot { segment, path: format!("{prefix}{name}"), group, repeats, required, must });
        Ok(())
    }

    fn add_group(&mut self, text: &str, inner: &[Part], parent: usize, prefix: &str) -> Result<(), String> {
        let (name, repeats) = cardinality(text);
        let required = !text.ends_with(['?', '*']) && self.groups[parent].required;
        self.groups.push(Group { parent: Some(parent), slots: 0..0, repeats, required });
        self.add(inner, self.groups.len() - 1, &format!("{prefix}{name}."))
    }

    /// Whether `group` is `ancestor` or lies inside it.
    pub fn is_within(&self, group: usize, ancestor: usize) -> bool {
        let mut at = Some(group);
        while let Some(number) = at {
            if number == ancestor {
                return true;
            }
            at = self.groups[number].parent;
        }
        false
    }

    /// Whether `group` may begin with that slot: no segment that it must have stands before.
    fn heads(&self, group: usize, slot: usize) -> bool {
        let before = &self.slots[self.groups[group].slots.start..slot];
        !before.iter().any(|earlier| earlier.must && self.is_within(self.slots[slot].group, earlier.group))
    }

    /// Whether there is a place for segments of that name.
    pub fn knows(&self, name: SegmentName) -> bool {
        self.slots_in(0, name).next().is_some()
    }

    /// The slots whose segment is `name`, inside `group`.
    fn slots_in(&self, group: usize, name: SegmentName) -> impl Iterator<Item = usize> + '_ {
        self.groups[group].slots.clone().filter(move |&s| self.slots[s].segment == name)
    }
}

fn cardinality(text: &str) -> (&str, bool) {
    let name = text.trim_end_matches(['?', '*', '+']);
    (name, text.ends_with(['*', '+']))
}

/// No instance of a group.
const NEVER: u32 = u32::MAX;

/// Walks a message through a structure.
#[derive(Debug)]
pub struct Placer<'s> {
    structure: &'s Structure,
    cursor: usize,
    started: bool,
    instances: Vec<u32>,
    /// For each slot the instance of its group that had it last.
    seen: Vec<u32>,
    /// The chains of the segments placed so far; neighbours share theirs.
    pub chains: Vec<(u16, u32)>,
    last: Range<u32>,
}

impl<'s> Placer<'s> {
    pub fn new(structure: &'s Structure) -> Self {
        let (instances, seen) = (vec![0; structure.groups.len()], vec![NEVER; structure.slots.len()]);
        Self { structure, cursor: 0, started: false, instances, seen, chains: Vec::with_capacity(64), last: 0..0 }
    }

    /// Places the next segment, or tells that the structure has no place for it, or none any more.
    pub fn place(&mut self, name: SegmentName) -> Option<Placed> {
        let mut group = Some(self.structure.slots.get(self.cursor)?.group);
        let mut late = None;
        while let Some(number) = group {
            if let Some(slot) = self.forward(number, name) {
                return Some(self.settle(slot, None));
            }
            if self.structure.groups[number].repeats
                && let Some(slot) = self.structure.slots_in(number, name).next()
            {
                if self.begins(number, slot) {
                    return Some(self.settle(slot, Some(number)));
                }
                late = late.or(Some(slot));
            }
            group = self.structure.groups[number].parent;
        }
        // Out of order, and beginning no group: it stands where the standard has it, unless it stood there before.
        let slot = late.or_else(|| self.structure.slots_in(0, name).find(|slot| self.is_free(*slot)))?;
        Some(self.settle_late(slot))
    }

    /// Whether the present instance of its group has room for that slot's segment.
    fn is_free(&self, slot: usize) -> bool {
        let Slot { group, repeats, .. } = self.structure.slots[slot];
        repeats || self.seen[slot] != self.instances[group]
    }

    /// Whether a group begins anew with that slot. A segment that comes late, such as NK1 behind PV1, still belongs to
    /// the instance that waits for it; one that comes again where it may stand once begins the next.
    fn begins(&self, group: usize, slot: usize) -> bool {
        self.structure.heads(group, slot) || !self.is_free(slot)
    }

    /// The next slot of that name after the cursor, or the cursor's own if its segment repeats there.
    fn forward(&self, group: usize, name: SegmentName) -> Option<usize> {
        let reachable = |slot: &usize| {
            *slot > self.cursor || (*slot == self.cursor && (!self.started || self.structure.slots[*slot].repeats))
        };
        self.structure.slots_in(group, name).find(reachable)
    }

    /// Moves to a slot. Groups that are entered from outside, and the one that begins `anew` with all inside it on the
    /// way, get a new instance; the outermost of them is what began.
    fn settle(&mut self, slot: usize, anew: Option<usize>) -> Placed {
        let was_in = self.structure.slots[self.cursor].group;
        let mut began = None;
        let mut at = Some(self.structure.slots[slot].group);
        while let Some(group) = at {
            let entered = match anew {
                Some(top) => self.structure.is_within(group, top),
                None => group != 0 && !(self.started && self.structure.is_within(was_in, group)),
            };
            if entered {
                self.instances[group] += 1;
                began = Some(group);
            }
            at = self.structure.groups[group].parent;
        }
        self.cursor = slot;
        self.seen[slot] = self.instances[self.structure.slots[slot].group];
        self.started = true;
        Placed { slot, began, chain: self.chain(slot) }
    }

    /// Places a segment behind others that should follow it: the walk goes on where it was.
    fn settle_late(&mut self, slot: usize) -> Placed {
        let mut began = None;
        let mut at = Some(self.structure.slots[slot].group);
        while let Some(group) = at {
            if group != 0 && self.instances[group] == 0 {
                self.instances[group] = 1;
                began = Some(group);
            }
            at = self.structure.groups[group].parent;
        }
        self.seen[slot] = self.instances[self.structure.slots[slot].group];
        Placed { slot, began, chain: self.chain(slot) }
    }

    fn chain(&mut self, slot: usize) -> Range<u32> {
        let start = self.chains.len();
        let mut at = Some(self.structure.slots[slot].group);
        while let Some(group) = at {
            self.chains.push((group as u16, self.instances[group]));
            at = self.structure.groups[group].parent;
        }
        self.chains[start..].reverse();
        let last = self.last.start as usize..self.last.end as usize;
        if self.chains[last] == self.chains[start..] {
            self.chains.truncate(start);
        } else {
            self.last = start as u32..self.chains.len() as u32;
        }
        self.last.clone()
    }
}

/// Whether a segment at `other` may be meant by a rule that stands at `here`: not where the two are in
/// different instances of the same group (the ORC of one order is not the ORC of the next).
pub fn sees(here: &Chain, other: &Chain) -> bool {
    for (mine, theirs) in here.iter().zip(other) {
        if mine.0 != theirs.0 {
            return true;
        }
        if mine.1 != theirs.1 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORU: &str = "
- MSH
- PATIENT_RESULT+:
    - PATIENT?:
        - PID
        - NTE*
        - VISIT?:
            - PV1
            - PV2?
    - ORDER_OBSERVATION+:
        - ORC?
        - OBR
        - NTE*
        - OBSERVATION*:
            - OBX
            - NTE*
        - SPECIMEN*:
            - SPM
            - OBX*
";

    fn walk(names: &str) -> Vec<String> {
        let parts: Vec<Part> = serde_saphyr::from_str(ORU).unwrap();
        let structure = Structure::new(&parts).unwrap();
        let mut placer = Placer::new(&structure);
        names
            .split(' ')
            .map(|name| match placer.place(SegmentName::read(name).unwrap()) {
                None => "-".to_owned(),
                Some(placed) => {
                    let count = placer.chains[placed.chain.end as usize - 1].1;
                    format!("{}#{count}", structure.slots[placed.slot].path)
                }
            })
            .collect()
    }

    #[test]
    fn segments_go_to_the_innermost_group_that_takes_them() {
        let order = "PATIENT_RESULT.ORDER_OBSERVATION";
        assert_eq!(
            walk("MSH PID NTE PV1 ORC OBR NTE OBX OBX NTE SPM OBX OBR OBX"),
            [
                "MSH#0".to_owned(),
                "PATIENT_RESULT.PATIENT.PID#1".into(),
                "PATIENT_RESULT.PATIENT.NTE#1".into(),
                "PATIENT_RESULT.PATIENT.VISIT.PV1#1".into(),
                format!("{order}.ORC#1"),
                format!("{order}.OBR#1"),
                format!("{order}.NTE#1"),
                format!("{order}.OBSERVATION.OBX#1"),
                format!("{order}.OBSERVATION.OBX#2"),
                format!("{order}.OBSERVATION.NTE#2"),
                format!("{order}.SPECIMEN.SPM#1"),
                format!("{order}.SPECIMEN.OBX#1"),
                format!("{order}.OBR#2"),
                format!("{order}.OBSERVATION.OBX#3"),
            ]
        );
    }

    #[test]
    fn a_second_patient_begins_a_second_result() {
        let walked = walk("MSH PID OBR OBX PID OBR OBX");
        assert_eq!(walked[4], "PATIENT_RESULT.PATIENT.PID#2");
        assert_eq!(walked[6], "PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION.OBX#2");
    }

    #[test]
    fn what_comes_late_belongs_to_the_patient_before() {
        assert_eq!(walk("MSH PID OBR OBX PV1 OBX")[4], "PATIENT_RESULT.PATIENT.VISIT.PV1#1");
        assert_eq!(walk("MSH PID OBR OBX PV1 OBX")[5], "PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION.OBX#2");
    }

    #[test]
    fn a_segment_that_comes_again_begins_the_next_order_without_its_head() {
        let walked = walk("MSH PID ORC OBR OBX OBR OBX");
        assert_eq!(walked[5], "PATIENT_RESULT.ORDER_OBSERVATION.OBR#2");
    }

    #[test]
    fn what_may_stand_once_has_no_second_place() {
        let parts: Vec<Part> = serde_saphyr::from_str("[MSH, PID, 'NK1*', 'PV1?', 'PV2?']").unwrap();
        let structure = Structure::new(&parts).unwrap();
        let mut placer = Placer::new(&structure);
        let mut walk = |name| placer.place(SegmentName::read(name).unwrap()).map(|placed| placed.slot);
        let placed = ["MSH", "PV1", "PID", "PID", "NK1", "NK1", "PV1", "PV2"].map(&mut walk);
        assert_eq!(placed, [Some(0), Some(3), Some(1), None, Some(2), Some(2), None, Some(4)]);
    }

    #[test]
    fn strangers_are_told_and_change_nothing() {
        let walked = walk("MSH PID ZZZ PV1");
        assert_eq!(walked[2..], ["-", "PATIENT_RESULT.PATIENT.VISIT.PV1#1"]);
    }

    #[test]
    fn one_order_does_not_see_the_other() {
        let (patient, order) = ((2, 1), 4);
        assert!(sees(&[(0, 0), (1, 1), (order, 2)], &[(0, 0), (1, 1), patient]));
        assert!(!sees(&[(0, 0), (1, 1), (order, 2)], &[(0, 0), (1, 1), (order, 1)]));
        assert!(sees(&[(0, 0), (1, 1), (order, 2)], &[(0, 0)]));
    }
}
