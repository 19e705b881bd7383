"""
Tests for L{WatchingFactory} and where a protocol has its portal: it is found, or the connection is
cut off before anybody can log in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.protocol import Factory, Protocol
from twisted.mail.pop3 import IMailbox, Mailbox
from twisted.mail.protocols import VirtualPOP3
from twisted.protocols.policies import WrappingFactory
from twisted.python.components import registerAdapter
from twisted.spread import pb
from zope.interface import implementer

from avatarkit.transports import IPortalHolder, WatchingFactory
from logs import logged
from needing import needsModule
from scripted import Boom, IThing
from watched import SECRET, Server, WatchingCase
from wires import connect

# Any in this module: protocols and factories, which have whatever attributes they have.


class HiddenTests(WatchingCase):
    """
    A portal that is not where it is looked for, or not the same.
    """

    def isCutOff(self, level: str, *words: str) -> None:
        """
        Check that a client is cut off before it can log in, and that the log says why.
        """
        with logged() as said:
            wire = connect(self.factory)
        (line,) = said
        assert line.startswith(f"{level}: ")
        assert all(each in line for each in words), line
        assert wire.lost
        wire.deliver(b"alice\r\n")  # as TLS may deliver what it had decrypted before
        assert self.said == []
        self.nothingIsLeft()

    def test_without(self) -> None:
        """
        A factory without a portal.
        """
        self.serve()
        factory: Any = self.factory.wrappedFactory
        factory.protocol = Protocol
        self.isCutOff("critical", "does not have", repr(self.portal), "IPortalHolder")

    def test_methods(self) -> None:
        """
        A protocol and a factory that have methods of objects, and tuples, which do not have it.
        """

        class Calling(Server):
            def __init__(self) -> None:
                super().__init__()
                self.args, self.callback = (1, 2), self.logins.append

        self.serve()
        factory: Any = self.factory.wrappedFactory
        factory.protocol = Calling
        factory.args, factory.callback = (3, 4), self.realm.close
        self.isCutOff("critical", "does not have")

    def test_other(self) -> None:
        """
        A factory with another portal.
        """
        self.serve()
        other = Portal(self.realm)
        self.factory = WatchingFactory(self.factory.wrappedFactory, other)
        self.isCutOff("critical", "does not have", repr(other))

    def test_readOnly(self) -> None:
        """
        A protocol that does not let its portal be replaced.
        """

        class Closed(Protocol):
            portal = property(lambda protocol: portal)

        self.serve()
        portal = self.portal
        factory: Any = Factory()
        factory.protocol = Closed
        self.factory = WatchingFactory(factory, portal)
        self.isCutOff("critical", "does not take a portal")
        assert len(self.flushLoggedErrors(AttributeError)) == 1

    def test_holderRaises(self) -> None:
        """
        A holder that raises.
        """

        @implementer(IPortalHolder)
        class Broken(Server):
            def givePortal(self, old: object, new: object) -> bool:
                raise Boom("on purpose")

        self.serve(protocol=Broken)
        self.isCutOff("critical", "does not take a portal")
        assert len(self.flushLoggedErrors(Boom)) == 1

    def test_service(self) -> None:
        """
        A portal in a dict of a service, as Twisted's POP3 for several domains has it, is not found,
        unless an adapter knows where it is.
        """

        class Service:
            def __init__(self, portal: Any) -> None:
                self.portals = {b"": portal}

            def lookupPortal(self, domain: bytes) -> Any:
                return self.portals[domain]

        class Mail(VirtualPOP3):
            timeOut: Any = None

        @implementer(IPortalHolder)
        class Holder:
            def __init__(self, mail: Any) -> None:
                self.mail = mail

            def givePortal(self, old: Any, new: Any) -> bool:
                self.mail.service = Service(new)
                return True

        def build() -> Any:
            built: Any = Mail()
            built.service = Service(portal)
            return built

        @implementer(IMailbox)
        class Box(Mailbox):
            pass

        self.serve(make=lambda avatarId: Box())
        portal = self.portal
        factory: Any = self.factory.wrappedFactory
        factory.protocol = build
        self.isCutOff("critical", "does not have")
        registerAdapter(Holder, Mail, IPortalHolder)
        wire = connect(self.factory)
        wire.protocol.wrappedProtocol.lookupDomain = lambda user: (user, b"")
        wire.deliver(b"USER alice\r\nPASS secret\r\n")
        (session,) = self.realm.sessions
        assert session.connection is wire.protocol.connection
        wire.leave()
        self.nothingIsLeft()

    def test_brokerWithoutPortal(self) -> None:
        """
        A server of Perspective Broker whose root has no portal.
        """
        self.serve()
        self.factory = WatchingFactory(pb.PBServerFactory(pb.Root()), self.portal)
        self.isCutOff("critical", "does not have")

    def test_brokerHolder(self) -> None:
        """
        A broker says whether its root has the portal.
        """
        self.serve()
        portal, other = self.portal, Portal(self.realm)
        broker: Any = pb.PBServerFactory(portal).buildProtocol(None)
        holder: Any = IPortalHolder(broker)
        assert not holder.givePortal(other, portal)
        assert holder.givePortal(portal, other)


class PlaceTests(WatchingCase):
    """
    Where a portal is found.
    """

    def isFound(self, factory: Any, portal: Callable[[Any], Any]) -> Any:
        """
        Check that a protocol logs in through a portal that ends its session.
        """
        self.factory = WatchingFactory(factory, self.portal)
        wire = connect(self.factory)
        protocol = wire.protocol.wrappedProtocol
        portal(protocol).login(SECRET, None, IThing)
        assert len(self.realm.sessions) == 1
        wire.leave()
        self.nothingIsLeft()
        return protocol

    def building(self, protocol: Any) -> Any:
        """
        Return a factory of a protocol, which has no portal itself.
        """
        factory: Any = Factory.forProtocol(protocol)
        factory.noisy = False
        return factory

    @needsModule("bcrypt")
    def test_classOfFactory(self) -> None:
        """
        In the class of the factory, as conch's examples have it.
        """
        from twisted.conch.ssh.factory import SSHFactory

        class Shells(SSHFactory):
            protocol = Protocol
            privateKeys: Any = {}
            primes: Any = {1: [(2, 3)]}
            portal: Any

        self.serve()
        Shells.portal = self.portal
        factory = Shells()
        protocol = self.isFound(factory, lambda protocol: protocol.factory.portal)
        assert isinstance(protocol.factory, Shells)
        assert factory.portal is self.portal

    def test_classOfProtocol(self) -> None:
        """
        In the class of the protocol.
        """

        class Shell(Protocol):
            portal: Any

        self.serve()
        Shell.portal = self.portal
        self.isFound(self.building(Shell), lambda protocol: protocol.portal)
        assert Shell.portal is self.portal

    def test_methodOfFactory(self) -> None:
        """
        In a factory whose methods use it; they have what else the factory has, and change it.
        """

        class Gates(Factory):
            protocol = Protocol
            noisy = False
            portal: Any
            count = 0

            def gate(self) -> Any:
                self.count += 1
                self.last = "alice"
                del self.last
                return self.portal

            @classmethod
            def name(cls) -> str:
                return cls.__name__

        self.serve()
        gates: Any = Gates()
        gates.portal = self.portal
        protocol = self.isFound(gates, lambda protocol: protocol.factory.gate())
        assert gates.count == 1
        assert not hasattr(gates, "last")
        assert protocol.factory.name() == "Gates"

    def test_wrapped(self) -> None:
        """
        In a protocol that is wrapped, or its factory, and nothing stands for that protocol.
        """

        class Gates(Factory):
            protocol = Protocol
            noisy = False
            portal: Any

        def build() -> Any:
            built: Any = Protocol()
            built.portal = portal
            return built

        def inside(wrapper: Any) -> Any:
            assert type(wrapper.wrappedProtocol) is Protocol
            return wrapper.wrappedProtocol

        self.serve()
        portal, factory = self.portal, Gates()
        self.isFound(WrappingFactory(self.building(build)), lambda outer: inside(outer).portal)
        factory.portal = portal
        self.isFound(WrappingFactory(factory), lambda outer: inside(outer).factory.portal)

    def test_slots(self) -> None:
        """
        In a slot, of whatever name, and of a class below.
        """

        class Slotted:
            __slots__ = ("_door", "factory", "transport")

            def makeConnection(self, transport: Any) -> None:
                self.transport = transport

            def connectionLost(self, reason: object) -> None:
                pass

        class Further(Slotted):
            __slots__ = ()

        def build() -> Any:
            built: Any = Further()
            built._door = portal
            return built

        self.serve()
        portal = self.portal
        self.isFound(self.building(build), lambda protocol: protocol._door)

    def test_tuple(self) -> None:
        """
        In a tuple, with other things.
        """

        def build() -> Any:
            built: Any = Protocol()
            built.args = ("shell", portal)
            built.others = ("shell",)
            return built

        self.serve()
        portal = self.portal
        protocol = self.isFound(self.building(build), lambda protocol: protocol.args[1])
        assert (protocol.args[0], protocol.others) == ("shell", ("shell",))
