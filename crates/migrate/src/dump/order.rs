//! An order in which objects can be built: dependencies first, names where there is a choice.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::Object;

/// The objects' positions in the order in which to build them. An object that depends on a late one
/// becomes late itself.
///
/// # Errors
/// The positions of objects that depend on each other in a circle.
pub(super) fn sort(
    objects: &mut [Object],
    edges: &BTreeSet<(usize, usize)>,
) -> Result<Vec<usize>, Vec<usize>> {
    let mut needs = vec![0_usize; objects.len()];
    let mut needed_by = vec![Vec::new(); objects.len()];
    for &(first, then) in edges {
        needs[then] += 1;
        needed_by[first].push(then);
    }
    let lateness = spread(objects, &needs, &needed_by);
    for (object, late) in objects.iter_mut().zip(lateness) {
        object.late = late;
    }
    let entry = |i: usize| Reverse((objects[i].late, objects[i].kind, objects[i].name.clone(), i));
    let mut ready: BinaryHeap<_> = (0..objects.len())
        .filter(|&i| needs[i] == 0)
        .map(entry)
        .collect();
    let mut out = Vec::with_capacity(objects.len());
    while let Some(Reverse((.., i))) = ready.pop() {
        out.push(i);
        for &then in &needed_by[i] {
            needs[then] -= 1;
            if needs[then] == 0 {
                ready.push(entry(then));
            }
        }
    }
    if out.len() == objects.len() {
        return Ok(out);
    }
    Err(circle(&needs, edges))
}

/// Which objects are late, once what depends on a late one is late, too.
fn spread(objects: &[Object], needs: &[usize], needed_by: &[Vec<usize>]) -> Vec<bool> {
    let mut late: Vec<bool> = objects.iter().map(|o| o.late).collect();
    let mut needs = needs.to_vec();
    let mut open: Vec<usize> = (0..objects.len()).filter(|&i| needs[i] == 0).collect();
    while let Some(i) = open.pop() {
        for &then in &needed_by[i] {
            late[then] |= late[i];
            needs[then] -= 1;
            if needs[then] == 0 {
                open.push(then);
            }
        }
    }
    late
}

/// One circle among those that still need something.
fn circle(needs: &[usize], edges: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let Some(start) = needs.iter().position(|n| *n > 0) else {
        return Vec::new();
    };
    // Against the edges every one of them has a predecessor that needs something itself.
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let Some(&(before, _)) = edges.iter().find(|(a, b)| *b == last && needs[*a] > 0) else {
            return path;
        };
        if let Some(at) = path.iter().position(|i| *i == before) {
            return path.split_off(at);
        }
        path.push(before);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn objects() -> Vec<Object> {
        vec![
            Object::new(Kind::View, "b"),
            Object::new(Kind::Table, "b"),
            Object::new(Kind::Table, "a"),
            Object::new(Kind::Constraint, "c"),
            Object::new(Kind::View, "a"),
        ]
    }

    #[test]
    fn names_order_what_dependencies_leave_open() {
        let order = sort(&mut objects(), &BTreeSet::new());
        assert_eq!(order, Ok(vec![2, 1, 4, 0, 3]));
        let order = sort(&mut objects(), &BTreeSet::from([(1, 2), (0, 4)]));
        assert_eq!(order, Ok(vec![1, 2, 0, 4, 3]));
    }

    #[test]
    fn what_depends_on_a_late_one_is_late() {
        let mut all = objects();
        let order = sort(&mut all, &BTreeSet::from([(3, 4), (4, 0)]));
        assert_eq!(order, Ok(vec![2, 1, 3, 4, 0]));
        assert!(all[0].late && all[4].late && !all[1].late);
    }

    #[test]
    fn a_circle_is_told_without_what_hangs_on_it() {
        let edges = BTreeSet::from([(0, 1), (1, 4), (4, 0), (1, 2)]);
        let mut circle = sort(&mut objects(), &edges).unwrap_err();
        circle.sort_unstable();
        assert_eq!(circle, [0, 1, 4]);
    }
}
