"""How the answers of a step are checked, and what becomes of those that do not pass. Registers nothing.

A step's class says how many answers are asked for; its checks say which pass. What fails goes to the next model with
what was wrong, and leaves an outcome from which the next choices learn. Nothing that an answer or its material says
changes which model is asked, which checks are made, or what may be spent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.errors import Permanent
from engine.plan.care import Check
from engine.plan.tasktype import TaskContext

if TYPE_CHECKING:
    from engine.models.cascade import Tried
    from engine.models.checks import Judged, Verdict
    from engine.models.choosing import Choice
    from engine.models.request import Answer
    from engine.models.service import Models
    from settings.economy.routing import ClassSection
    from tasks.asking import Called, Question

OUTCOME = "outcome"
"""Kind of the notes that say what checks found."""
REVIEWED_BY = "It does all that is asked, correctly, and nothing in it is made up."

_OUTPUT_MAX = 64 * 1024
_TEXT_KEPT = 1000
_SPREAD, _WIDE_SPREAD = 0.7, 0.9
_SCORE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "reason": {"type": "string"},
        "needs_context": {"type": "boolean"},
    },
    "required": ["score", "reason"],
    "additionalProperties": False,
}

Put = Callable[[TaskContext, "Question", "Choice"], "tuple[Answer, Called]"]
Choose = Callable[["Question", tuple[str, ...], Mapping[str, Any]], "Choice"]


class CheckFailed(Permanent):
    """No answer passed the checks of its step."""


@dataclass(slots=True)
class Answering:
    """One question on its way to an answer that passes.

    Parameters
    ----------
    put
        Asks one model once.
    choose
        Chooses for a question, without the ids that were tried, and with facts of its own.
    """

    context: TaskContext
    question: Question
    models: Models
    section: ClassSection
    step_class: str
    pinned: bool
    put: Put
    choose: Choose
    calls: list[Called] = field(default_factory=list)
    _looked: dict[int, Verdict] = field(default_factory=dict)
    _kept: list[Answer] = field(default_factory=list)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The step's own, else the judge of its class."""
        if self.context.care.checks or self.section.judge is None:
            return self.context.care.checks
        return (Check(judge=self.section.judge, sample=self.section.sample),)

    @property
    def escalations(self) -> int:
        """How many further models may be asked."""
        return 0 if self.pinned or not self.checks else self.section.escalations

    def run(self) -> tuple[Answer, Called]:
        """The answer, and all its calls as one. Raises ``CheckFailed``."""
        from engine.models.cascade import cascade
        from tasks.asking import total

        tried = cascade(self._choice, self._answer, self._verdict, self.escalations, self._widen)
        last = tried[-1]
        if last.verdict.passed is False:
            if last.answer.finish == "invalid":
                raise CheckFailed(f"no model gave an answer that can be used; {last.verdict.why}")
            asked = ", ".join(dict.fromkeys(each.answer.model for each in tried))
            raise CheckFailed(f"no answer passed the check ({last.verdict.by}; asked {asked}): {last.verdict.why}")
        return last.answer, replace(total(self.calls), score=last.verdict.score, tries=len(tried))

    def _choice(self, tried: tuple[str, ...]) -> Choice:
        return self.choose(self.question, tried, {"checked": bool(self.checks), "escalations": self.escalations})

    def _widen(self) -> bool:
        wider = self.question.wider() if self.question.wider is not None else None
        if wider is None:
            return False
        self.context.log.info("the context was widened before a stronger model is asked")
        self.question = wider
        return True

    def _answer(self, choice: Choice, tried: Sequence[Tried[Answer]]) -> Answer:
        from engine.models.cascade import told

        question = replace(self.question, messages=(*self.question.messages, *told(tried)))
        frugal = self.context.care.cheaper > 0
        if self.section.votes > 1 and question.schema is not None and not frugal:
            answer = self._voted(question, choice)
        elif self.section.breadth > 1 and self.checks and not frugal:
            answer = self._best(question, choice)
        else:
            answer = self._once(question, choice)
        for _ in range(0 if frugal or choice.model.local else self.section.reviews):
            judged = self._judge(Check(judge=REVIEWED_BY), answer.text, answer.model)
            if judged.score >= Check(judge=REVIEWED_BY).at_least:
                break
            self.context.check_cancelled()
            answer = self._once(replace(question, messages=(*question.messages, *_revised(answer, judged))), choice)
        return answer

    def _once(self, question: Question, choice: Choice) -> Answer:
        from engine.costs.usage import Usage
        from engine.models.checks import Verdict
        from engine.models.failures import InvalidAnswer, NoAnswer
        from engine.models.request import Answer

        self.context.check_cancelled()
        try:
            answer, call = self.put(self.context, question, choice)
        except (InvalidAnswer, NoAnswer) as error:
            if not self.escalations:
                raise
            model = choice.model
            answer = Answer(error.text, None, model.id, model.provider.name, Usage(), 0, "invalid")
            verdict = Verdict(passed=False, score=0.0, why=str(error), by="form")
            self._remember(answer, verdict)
            if (entry := self.models.entry()) is not None:
                self._leave(answer, verdict, entry)
            return answer
        self.calls.append(call)
        if (entry := self.models.entry()) is not None:  # an operator may rate what nobody checks
            entry["facts"] = {**entry.get("facts", {}), "class": self.step_class}
        verdict = self.looked(answer.text, answer.data, answer.model)
        self._remember(answer, verdict)
        if verdict.passed is not None and entry is not None and answer.cached in ("none", "miss"):
            self._leave(answer, verdict, entry)
        return answer

    def _remember(self, answer: Answer, verdict: Verdict) -> None:
        self._kept.append(answer)  # its id is looked up: it must not become another answer's
        self._looked[id(answer)] = verdict

    def _verdict(self, answer: Answer) -> Verdict:
        return self._looked[id(answer)]

    def _voted(self, question: Question, choice: Choice) -> Answer:
        """The answer that most give, each asked alone; ends once that is sure."""
        given: dict[str, Answer] = {}
        counts: Counter[str] = Counter()
        for nth in range(self.section.votes):
            answer = self._once(replace(question, temperature=_SPREAD, seed=nth), choice)
            said = json.dumps(answer.data, sort_keys=True, ensure_ascii=False)
            given.setdefault(said, answer)
            counts[said] += 1
            first, second = (*counts.most_common(2), ("", 0))[:2]
            if first[1] > second[1] + self.section.votes - nth - 1:
                break
        return given[counts.most_common(1)[0][0]]

    def _best(self, question: Question, choice: Choice) -> Answer:
        """Of several answers that may differ, the one whose check scores highest; the first of those alike."""
        answers = []
        for nth in range(self.section.breadth):
            answers.append(self._once(replace(question, temperature=_WIDE_SPREAD, seed=nth), choice))
            if self._verdict(answers[-1]).score == 1.0:
                break
        return max(answers, key=lambda answer: self._verdict(answer).score or 0.0)

    def looked(self, text: str, data: Any, model: str) -> Verdict:
        """What the checks say of an answer of ``model``."""
        from engine.models.checks import UNKNOWN, Looker

        if not self.checks:
            return UNKNOWN
        looker = Looker(
            self.context.idempotency_key, lambda check, said: self._judge(check, said, model), self._command
        )
        inputs = {name: value for name, value in self.question.facts.items() if name != "schema"}
        return looker.verdict(self.checks, text, data, inputs)

    def _judge(self, check: Check, text: str, answered_by: str) -> Judged:
        from engine.models.checks import Judged
        from tasks.asking import Question, messages_of

        passages = list(self.question.facts.get("passages") or ())
        asked = str(self.question.facts.get("question") or self.question.messages[-1].text)
        put = messages_of(
            f"You judge a result by this criterion: {check.judge} Be strict. Say needs_context if what is missing is "
            "not in the material.",
            [*passages, {"text": text, "source": "the result"}],
            f"What was asked:\n{asked}\n\nScore the result from 0 (useless) to 1 (fully meets the criterion), and say "
            "why in one sentence.",
        )
        facts = {"text": text, "criterion": "", "question": asked, "passages": passages}
        question = Question("judge", put, facts, 256, _SCORE, "judge")
        answer, call = self.put(self.context, question, self._judge_choice(question, check, answered_by))
        self.calls.insert(0, call)  # the last call is the answer's
        return Judged(answer.data["score"], answer.data["reason"], bool(answer.data.get("needs_context")))

    def _judge_choice(self, question: Question, check: Check, answered_by: str) -> Choice:
        """The judge that the check names, else another than who answered and no weaker, else the same."""
        if check.model is not None:
            return self.models.choose(pinned=check.model)
        strength = self.models.catalogue.model(answered_by).strength
        other = self.choose(question, (answered_by,), {"floor": strength})
        return self.choose(question, (), {"floor": strength}) if other.model.local else other

    def _command(self, argv: Sequence[str], stdin: str) -> tuple[int, str]:
        from tasks.shell import run_program

        seconds = min(self.models.policy.routing.command_s, self.models.left_s)
        end = run_program(self.context, list(argv), ".", None, stdin, seconds, _OUTPUT_MAX)
        if end.stopped:
            return 1, f"the check took longer than {seconds:g} s"
        return (end.exit_code if end.exit_code is not None else 1), end.stdout.text() or end.stderr.text()

    def _leave(self, answer: Answer, verdict: Verdict, entry: dict[str, Any]) -> None:
        """Complete the ledger's entry of an answer that was looked at, and leave what the next choices learn from."""
        entry["score"] = verdict.score
        caching = self.context.care.caching
        # Of what is sensitive nothing is kept: no text to learn from either.
        sensitive = caching is not None and caching is not False and caching.sensitive
        text = self.question.messages[-1].text if self.question.messages and not sensitive else ""
        self.context.note(OUTCOME, {
            "id": entry["id"], "at": entry["at"], "model": answer.model, "task": self.models.policy.task,
            "class": self.step_class, "passed": verdict.passed, "score": verdict.score, "by": verdict.by,
            "text": text[:_TEXT_KEPT],
        })  # fmt: skip


def _revised(answer: Answer, judged: Judged) -> Sequence[Any]:
    from engine.models.request import Message

    again = (
        f"A reviewer says of that answer: {judged.why}\nAnswer what was asked again, anew and whole, in the same form. "
        "Do not mention the review."
    )
    return (Message("assistant", answer.text[:8000] or "(nothing)"), Message("user", again))
