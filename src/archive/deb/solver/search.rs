//! The search: first options first, and back to the latest choice that matters where that fails.

use super::problem::{Id, Nogood, Problem, Reason, Wanted};

/// How many steps a search may take. Debian's own requests take a few thousand; a request that
/// needs this many was made to have no answer.
const STEPS: usize = 2_000_000;

/// Why a search found nothing.
#[derive(Debug)]
pub(super) enum Defeat {
    /// This nogood, which has no members, says so.
    Proven(usize),
    /// It went on for too long.
    Endless,
}

/// The packages to be chosen, in the order they were.
pub(super) fn search(problem: &mut Problem<'_>) -> Result<Vec<Id>, Defeat> {
    let roots = problem.roots();
    let depends = problem.depends();
    let mut search = Search { problem, todo: Vec::new(), chosen: Vec::new(), places: Vec::new() };
    let mut head = search.before(NOTHING, depends.into_iter().map(Task::Choose));
    let options = |choice: &usize| search.problem.choices[*choice].options[0].first().copied();
    let opened: Vec<Task> = roots.iter().filter_map(options).map(Task::Follow).collect();
    head = search.before(head, opened);
    head = search.before(head, roots.into_iter().map(Task::Choose));
    search.run(head)
}

/// What is still to be done: a list that shares its tail with others, so that going back to an
/// earlier state is taking up an earlier number. 0 is the empty list.
type Todo = usize;
const NOTHING: Todo = 0;

#[derive(Debug, Clone, Copy)]
enum Task {
    /// Make a choice.
    Choose(usize),
    /// See to what a package needs.
    Follow(Id),
}

struct Search<'p, 'a> {
    problem: &'p mut Problem<'a>,
    /// Cell `n - 1` is the head of list `n`, and the list behind it.
    todo: Vec<(Task, Todo)>,
    /// Each package chosen, and the list whose head was the choice.
    chosen: Vec<(Id, Todo)>,
    /// Where a package stands in `chosen`.
    places: Vec<Option<usize>>,
}

impl Search<'_, '_> {
    fn run(mut self, mut todo: Todo) -> Result<Vec<Id>, Defeat> {
        let mut steps = 0;
        while todo != NOTHING {
            let (task, rest) = self.todo[todo - 1];
            todo = match task {
                Task::Follow(id) => {
                    let needs = self.problem.needs(id).to_vec();
                    self.before(rest, needs.into_iter().map(Task::Choose))
                }
                Task::Choose(choice) => match self.decide(choice, &mut steps) {
                    Decision::Satisfied => rest,
                    Decision::Take(id) => {
                        self.take(id, todo);
                        if self.is_root(choice) {
                            rest
                        } else {
                            self.before(rest, [Task::Follow(id)])
                        }
                    }
                    Decision::Exhausted(options) => self.back(choice, options)?,
                },
            };
            steps += 1;
            if steps > STEPS {
                return Err(Defeat::Endless);
            }
        }
        Ok(self.chosen.into_iter().map(|(id, _)| id).collect())
    }

    fn decide(&mut self, choice: usize, steps: &mut usize) -> Decision {
        let alternatives = self.problem.choices[choice].options.clone();
        let by_order = self.problem.choices[choice].owner.is_none();
        if !by_order && alternatives.iter().flatten().any(|&id| self.is_chosen(id)) {
            return Decision::Satisfied;
        }
        let mut forbidden = Vec::new();
        for options in alternatives {
            if by_order && options.iter().any(|&id| self.is_chosen(id)) {
                return Decision::Satisfied;
            }
            for id in options {
                self.problem.open(id);
                *steps += 1;
                match self.forbids(id, steps) {
                    None => return Decision::Take(id),
                    Some(nogood) => forbidden.push((id, nogood)),
                }
            }
        }
        Decision::Exhausted(forbidden)
    }

    /// A nogood of which all members but `id` have been chosen.
    fn forbids(&self, id: Id, steps: &mut usize) -> Option<usize> {
        self.problem.nogoods_of(id).iter().copied().find(|&nogood| {
            *steps += 1;
            let members = &self.problem.nogoods[nogood].members;
            members.iter().all(|&member| member == id || self.is_chosen(member))
        })
    }

    /// Learns from a choice without options, and goes back to the latest choice that had a part
    /// in it: what that one took is forbidden from now on.
    fn back(&mut self, choice: usize, options: Vec<(Id, usize)>) -> Result<Todo, Defeat> {
        let mut members: Vec<Id> = self.problem.choices[choice].owner.into_iter().collect();
        for &(option, nogood) in &options {
            let others = &self.problem.nogoods[nogood].members;
            members.extend(others.iter().filter(|&&other| other != option));
        }
        members.sort_unstable();
        members.dedup();
        let latest = members.iter().filter_map(|&member| self.place(member)).max();
        let reason = Reason::Exhausted { choice, options };
        let nogood = self.problem.learn(Nogood { members, reason });
        let Some(latest) = latest else { return Err(Defeat::Proven(nogood)) };
        let (_, todo) = self.chosen[latest];
        for (id, _) in self.chosen.drain(latest..) {
            self.places[id] = None;
        }
        Ok(todo)
    }

    fn take(&mut self, id: Id, todo: Todo) {
        if self.places.len() <= id {
            self.places.resize(id + 1, None);
        }
        self.places[id] = Some(self.chosen.len());
        self.chosen.push((id, todo));
    }

    fn place(&self, id: Id) -> Option<usize> {
        self.places.get(id).copied().flatten()
    }

    fn is_chosen(&self, id: Id) -> bool {
        self.place(id).is_some()
    }

    /// All roots are chosen before the needs of any are looked at.
    fn is_root(&self, choice: usize) -> bool {
        let wanted = &self.problem.choices[choice].wanted;
        matches!(wanted, Wanted::Essential(_) | Wanted::Package(_))
    }

    /// The list of `tasks`, in order, and then `rest`.
    fn before<I>(&mut self, rest: Todo, tasks: I) -> Todo
    where
        I: IntoIterator<Item = Task>,
        I::IntoIter: DoubleEndedIterator,
    {
        tasks.into_iter().rev().fold(rest, |list, task| {
            self.todo.push((task, list));
            self.todo.len()
        })
    }
}

enum Decision {
    /// Something that does has been chosen already.
    Satisfied,
    /// This is the next to be chosen.
    Take(Id),
    /// Nothing is left: each option, and the nogood that forbids it.
    Exhausted(Vec<(Id, usize)>),
}
