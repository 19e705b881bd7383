"""
Pushes to clients that may come back: numbered, kept, and sent again.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.spread.banana import SIZE_LIMIT
from twisted.trial.unittest import SynchronousTestCase

from avatarkit import (
    Avatar,
    Farewell,
    MindGroup,
    MindRegistry,
    Realm,
    Resume,
    Session,
    disconnect,
)
from avatarkit._push.journal import KEPT, Journal, journalFor
from avatarkit._push.lanes import SLICE
from avatarkit._push.wire import Message
from avatarkit.testing import FakeMind
from logs import logged
from minds import Ours, connect, sentTo
from returning import comer, pushesTo, ticketOf
from scripted import IThing, Thing

# Any in this module: what is pushed, and what a login returns.


class Player(Thing, Avatar):
    """
    An avatar that knows its clients.
    """


class JournalTests(SynchronousTestCase):
    """
    A registry on top of a L{Resume} of four pushes.
    """

    def setUp(self) -> None:
        """
        Stack it.
        """
        self.clock = Clock()
        self.stack()

    def stack(self, *, backlog: int = 4, hold: bool = True, **kw: Any) -> None:
        """
        Stack it with other numbers.
        """
        self.online = MindRegistry[Any](reactor=self.clock, **kw)
        self.resume = Resume[Any](backlog=backlog, hold=hold, reactor=self.clock)
        waiting = self.resume(lambda avatarId: Player())
        self.realm = Realm(waiting, blocks=[Farewell(reactor=self.clock), self.online])

    def come(self, mind: FakeMind) -> Session:
        """
        Log in; return the session.
        """
        login: Any = self.realm.requestAvatar(b"alice", mind, IThing)
        if isinstance(login, Deferred):
            self.successResultOf(login)
        return next(each for each in self.realm.sessions if each.mind is mind)

    def lose(self, mind: FakeMind) -> None:
        """
        Lose a client.
        """
        mind.disconnect()
        next(each for each in self.realm.sessions if each.mind is mind).logout()

    def back(self, mind: FakeMind, received: int) -> FakeMind:
        """
        Come back after a client, which has so many pushes.
        """
        again = comer(ticketOf(mind), received)
        self.come(again)
        self.clock.advance(0)
        return again

    def push(self, *numbers: int) -> None:
        """
        Push numbers.
        """
        for number in numbers:
            self.online.everyone.callRemote("news", number, pbanswer=False)

    def test_numbered(self) -> None:
        """
        Each push to such a client has a number; those to others are as ever.
        """
        mind, other = comer(), FakeMind()
        self.come(mind)
        login = self.realm.requestAvatar(b"bob", other, IThing)
        self.clock.advance(5)
        assert isinstance(login, Deferred)
        self.push(1, 2)
        assert pushesTo(mind) == [(1, "news", 1), (2, "news", 2)]
        assert [(each.name, each.args) for each in other.calls[1:]] == [
            ("news", (1,)),
            ("news", (2,)),
        ]

    def test_answered(self) -> None:
        """
        The answer to a push is that of the client's method.
        """
        mind = comer()
        mind.answers = {**mind.answers, "sessionPush": lambda number, name, args, kw: kw["x"]}
        self.come(mind)
        done = self.online.everyone.callRemote("news", x=7)
        assert self.successResultOf(done) == [(True, 7)]

    def test_sentAgain(self) -> None:
        """
        A client that comes back gets what it has not got, in order, and before anything newer.
        """
        mind = comer()
        self.come(mind)
        self.push(1, 2, 3)
        self.lose(mind)
        again = self.back(mind, 1)
        self.push(4)
        assert pushesTo(again) == [(number, "news", number) for number in (2, 3, 4)]

    def test_meanwhile(self) -> None:
        """
        So it does with what was pushed while it was away; whoever waits for an answer is told that
        there is none.
        """
        mind = comer()
        self.come(mind)
        self.push(1)
        self.lose(mind)
        done = self.online.everyone.callRemote("news", 2)
        ((success, failure),) = self.successResultOf(done)
        assert not success
        assert failure.check(pb.PBConnectionLost)
        self.push(3)
        again = self.back(mind, 1)
        assert pushesTo(again) == [(2, "news", 2), (3, "news", 3)]
        assert self.realm.audit() == []

    def test_asItWas(self) -> None:
        """
        It gets what was pushed, whatever has become of that since.
        """
        mind, news = comer(), [1]
        self.come(mind)
        self.online.everyone.callRemote("news", news, pbanswer=False)
        news.append(2)
        self.lose(mind)
        self.online.everyone.callRemote("news", news, pbanswer=False)
        news.append(3)
        again = self.back(mind, 0)
        assert pushesTo(again) == [(1, "news", [1]), (2, "news", [1, 2])]

    def test_away(self) -> None:
        """
        Without a hold nothing is pushed to a client that is away; it gets what was on its way.
        """
        self.stack(hold=False)
        mind = comer()
        self.come(mind)
        self.push(1, 2)
        self.lose(mind)
        self.push(3)
        again = self.back(mind, 1)
        self.push(4)
        assert pushesTo(again) == [(2, "news", 2), (3, "news", 4)]

    def test_overflow(self) -> None:
        """
        Of more pushes than are kept, the newest are; from their numbers the client learns how many
        are missing.
        """
        mind = comer()
        self.come(mind)
        self.push(1)
        self.lose(mind)
        self.push(*range(2, 11))
        again = self.back(mind, 1)
        assert pushesTo(again) == [(number, "news", number) for number in (7, 8, 9, 10)]

    def test_overflowMeanwhile(self) -> None:
        """
        So they are while the client gets what it has missed.
        """
        mind = comer()
        self.come(mind)
        self.lose(mind)
        self.push(1, 2, 3, 4)
        again = comer(ticketOf(mind), 0)
        self.come(again)
        self.push(5, 6, 7)
        self.clock.advance(0)
        assert pushesTo(again) == [(number, "news", number) for number in (4, 5, 6, 7)]

    def test_overflowThere(self) -> None:
        """
        As many are kept of those that were sent, and not answered for.
        """
        mind = comer()
        self.come(mind)
        self.push(*range(1, 11))
        self.lose(mind)
        assert [each[0] for each in pushesTo(self.back(mind, 0))] == [7, 8, 9, 10]

    def test_asked(self) -> None:
        """
        From time to time the client is asked how far it has got, and what it has is forgotten; an
        answer that cannot be true is no answer.
        """
        mind = comer()
        answers: list[object] = [6, 100, None, "8", -1, OSError()]
        mind.answers = {**mind.answers, "sessionReceived": lambda: answers.pop(0)}
        self.stack(backlog=8)
        session = self.come(mind)
        journal: Any = journalFor(session)
        self.push(*range(1, 6))
        assert [each.name for each in mind.calls].count("sessionReceived") == 2
        assert [*range(journal._first, journal.last + 1)] == [1, 2, 3, 4, 5]
        self.push(6)
        assert [*range(journal._first, journal.last + 1)] == [1, 2, 3, 4, 5, 6]
        answers[:0] = [6]
        self.push(7, 8)
        assert [*range(journal._first, journal.last + 1)] == [7, 8]
        self.push(9, 10, 11)
        assert [*range(journal._first, journal.last + 1)] == [7, 8, 9, 10, 11]

    def test_lostWhileSent(self) -> None:
        """
        A push that finds out that the client is gone ends its session, and is kept.
        """
        mind = comer()
        session = self.come(mind)
        mind.disconnected = True
        done = self.online.everyone.callRemote("news", 1)
        ((_, failure),) = self.successResultOf(done)
        assert failure.check(pb.DeadReferenceError)
        assert session.held
        assert pushesTo(self.back(mind, 0)) == [(1, "news", 1)]

    def test_lostWhileSentAgain(self) -> None:
        """
        If that happens to one that is sent again, it is sent once more.
        """
        mind = comer()
        self.come(mind)
        self.push(1, 2)
        self.lose(mind)
        again = comer(ticketOf(mind), 0)
        self.come(again)
        again.disconnected = True
        self.clock.advance(0)
        assert pushesTo(again) == []
        again.disconnected = False
        self.lose(again)
        assert [each[0] for each in pushesTo(self.back(again, 0))] == [1, 2]

    def test_yields(self) -> None:
        """
        What a client has missed is sent in slices, and what is pushed meanwhile comes after it.
        """
        mind, order = comer(), list[object]()
        self.stack(backlog=1000)
        self.come(mind)
        self.lose(mind)
        self.push(*range(1, 5))

        def sent(number: int, *rest: object) -> None:
            order.append(number)
            if number == 1:
                self.push(5)
            self.clock.rightNow += SLICE / 2 + 0.0001
            self.clock.callLater(0, order.append, "turn")

        again = comer(ticketOf(mind), 0)
        again.answers = {**again.answers, "sessionPush": sent}
        self.come(again)
        assert order == []
        self.clock.advance(0)
        assert order == [1, 2, "turn", "turn", 3, 4, "turn", "turn", 5, "turn"]

    def test_cutOff(self) -> None:
        """
        A client that is lost again while it gets what it missed gets the rest when it comes back.
        """
        mind = comer()
        self.stack(backlog=1000)
        self.come(mind)
        self.push(*range(1, 9))
        self.lose(mind)

        def sent(number: int, *rest: object) -> None:
            self.clock.rightNow += SLICE
            if number == 4:
                self.lose(again)

        again = comer(ticketOf(mind), 1)
        again.answers = {**again.answers, "sessionPush": sent}
        self.come(again)
        self.clock.advance(0)
        assert [each[0] for each in pushesTo(again)] == [2, 3, 4]
        assert len(self.clock.getDelayedCalls()) == 1  # the window
        assert [each[0] for each in pushesTo(self.back(again, 3))] == [4, 5, 6, 7, 8]

    def test_farewell(self) -> None:
        """
        A client that is kicked while it gets what it missed, gets all of it before it is told.
        """
        mind = comer()
        self.come(mind)
        self.lose(mind)
        self.push(1, 2, 3)
        again = comer(ticketOf(mind), 0)
        session = self.come(again)
        session.disconnect("spam", reactor=self.clock)
        assert [each[0] for each in pushesTo(again)] == [1, 2, 3]
        assert again.calls[-1].name == "sessionEnded"
        self.push(4)
        assert len(pushesTo(again)) == 3
        self.clock.advance(5)
        assert self.clock.getDelayedCalls() == []

    def test_loggedOut(self) -> None:
        """
        A client that logs out meanwhile gets nothing more, and no timer is left.
        """
        mind = comer()
        self.come(mind)
        self.lose(mind)
        self.push(1, 2, 3)
        again = comer(ticketOf(mind), 0)
        self.come(again).logout()
        assert self.clock.getDelayedCalls() == []
        assert pushesTo(again) == []

    def test_both(self) -> None:
        """
        A push that goes to a lost session and to the one that takes it over is one push.
        """

        class Pushing(MindRegistry[Any]):
            def attached(self, session: Session) -> object:
                result = super().attached(session)
                self.everyone.callRemote("news", len(tuple(self.everyone)), pbanswer=False)
                return result

        self.online = Pushing(reactor=self.clock)
        waiting = Resume[Any](reactor=self.clock)(lambda avatarId: Player())
        self.realm = Realm(waiting, blocks=[self.online])
        mind = comer()
        self.come(mind)
        self.push(0)
        self.lose(mind)
        again = self.back(mind, 2)
        assert pushesTo(mind) == [(1, "news", 1), (2, "news", 0)]
        assert pushesTo(again) == [(3, "news", 2)]

    def test_oldMind(self) -> None:
        """
        A push that was meant for the lost session reaches the client all the same.
        """
        mind = comer()
        former = self.come(mind)
        group = self.online.everyone
        waits: list[Any] = []

        def slow() -> None:
            waits.append(group.callRemote("news", 1))
            self.lose(mind)
            self.come(again)

        again = comer(ticketOf(mind), 0)
        again.answers = {**again.answers, "sessionPush": "answer"}
        MindGroup([FakeMind({"go": slow})], reactor=self.clock).callRemote("go")
        self.clock.advance(0)
        assert former.ended
        assert pushesTo(again) == [(1, "news", 1)]
        ((success, failure),) = self.successResultOf(waits[0])
        assert not success
        assert failure.check(pb.PBConnectionLost)

    def test_lanes(self) -> None:
        """
        Pushes that wait for their turn when a client is lost reach it in order when it is back,
        before and after what is pushed then.
        """

        def slow(*args: object) -> None:
            self.clock.rightNow += SLICE

        self.stack(backlog=100)
        mind = comer()
        first = FakeMind({"sessionClaim": None, "news": slow})
        self.realm.requestAvatar(b"first", first, IThing)
        self.come(mind)
        self.push(1, 2, 3)
        assert pushesTo(mind) == []
        self.lose(mind)
        again = comer(ticketOf(mind), 0)
        self.come(again)
        for number in (4, 5):
            self.online[b"alice"].callRemote("news", number, pbanswer=False)
        self.clock.advance(0)
        assert [each[2] for each in pushesTo(again)] == [1, 2, 3, 4, 5]
        assert [each[0] for each in pushesTo(again)] == [1, 2, 3, 4, 5]

    def test_unsendable(self) -> None:
        """
        What cannot be sent is no push: it leaves no gap.
        """
        mind = comer()
        self.come(mind)
        self.push(1)
        done = self.online.everyone.callRemote("news", b"x" * (SIZE_LIMIT + 1))
        ((success, _),) = self.successResultOf(done)
        assert not success
        self.push(2)
        assert [each[0] for each in pushesTo(mind)] == [1, 2]

    def test_unsendableLater(self) -> None:
        """
        If that turns out only when the client is back, it is logged, and the others are sent.
        """
        mind = comer()
        self.come(mind)
        self.lose(mind)
        self.push(1)
        self.online.everyone.callRemote("news", b"x" * (SIZE_LIMIT + 1), pbanswer=False)
        self.push(3)
        with logged() as said:
            again = self.back(mind, 0)
        assert "critical: a push cannot be sent again" in said
        self.flushLoggedErrors()
        assert [each[0] for each in pushesTo(again)] == [1, 3]

    def test_bounds(self) -> None:
        """
        A client that is away is not behind; one that is back may be.
        """
        self.stack(maximumBacklog=10, maximumPending=1, whenBehind=disconnect)
        mind = comer()
        session = self.come(mind)
        self.online.everyone.callRemote("news", 1)
        self.lose(mind)
        mind.backlog = 1000
        self.push(2, 3)
        assert session.held
        again = self.back(mind, 0)
        assert [each[0] for each in pushesTo(again)] == [1, 2, 3]
        again.backlog = 1000
        self.push(4)
        assert len(pushesTo(again)) == 3


class BrokerTests(SynchronousTestCase):
    """
    A journal whose client is a broker.
    """

    def test_unsendable(self) -> None:
        """
        What turns out to be unsendable inside an object is logged when it is to be sent again.
        """
        clock, message = Clock(), Message("news", ([Thing()],), {}, answering=True, toMany=False)
        journal = Journal(4, 0, clock)
        assert journal.push(message, None) is KEPT
        journal.begin(connect())
        clock.advance(0)
        (failure,) = self.flushLoggedErrors(TypeError)
        assert "cannot send instances of Thing" in failure.getErrorMessage()


class WireTests(SynchronousTestCase):
    """
    A numbered push to many minds is encoded once, and looks as if C{callRemote} had encoded it.
    """

    def test_same(self) -> None:
        """
        The bytes are the same.
        """
        shared: list[object] = [1, "two"]
        everything: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((), {}),
            ((1, b"x", "é", None, 1.5, {"a": [shared, shared]}), {"kw": shared, "pbcall": 1}),
            ((set(), (1, (2,)), 2**40), {}),
        ]
        for number in (0, 1, 127, 128, 300, 2**31 - 1, 2**31, 2**60):
            for name in ("news", b"news"):
                for args, kw in everything:
                    for answering in (True, False):
                        one, other = connect(), connect()
                        message = Message(name, args, kw, answering=answering, toMany=True)
                        message.send(one, number)
                        wishes = {} if answering else {"pbanswer": False}
                        other.callRemote("sessionPush", number, name, args, kw, **wishes)
                        assert sentTo(one) == sentTo(other)

    def test_again(self) -> None:
        """
        One that is sent again wants no answer.
        """
        one, other = connect(), connect()
        Message("news", (1,), {}, answering=True, toMany=True).send(one, 3, again=True)
        other.callRemote("sessionPush", 3, "news", (1,), {}, pbanswer=False)
        assert sentTo(one) == sentTo(other)

    def test_objects(self) -> None:
        """
        Objects are sent as they are, and what may not be sent is refused.
        """
        one, other = connect(), connect()
        Message("news", (Ours(),), {}, answering=False, toMany=True).send(one, 1)
        other.callRemote("sessionPush", 1, "news", (Ours(),), {}, pbanswer=False)
        assert sentTo(one) == sentTo(other)
        message = Message("news", ([Thing()],), {}, answering=True, toMany=False)
        mind = connect()
        for again in (False, True):
            answer: Any = message.send(mind, 1, again=again)
            assert self.failureResultOf(answer).check(TypeError)
        self.assertRaises(TypeError, message.check, [mind])
        assert not mind.broker.waitingForAnswers
