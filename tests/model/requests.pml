/*
 * Requests whose answer does not come, on one name, for Spin (https://spinroot.com): what a caller may be told, and what
 * must have happened at the server before. lock.pml checks the locks themselves; here a client has two connections, one
 * after the other, and what it asked for on the first may take effect after the second was opened.
 *
 * The rule that is checked: a request took effect; or it certainly did not and will not; or nothing is known, and then
 * its statement is ended at the server, and what it may have taken is found again or undone before the caller is told.
 *
 * HYBRID            a row is live only while the session named in it lives
 * PERMANENT         the lock does not expire: it is taken for a lease and made permanent once its holder heard of it
 * CRASHES           the server crashes once, and forgets the release that was not on the disk yet
 * BREAK_KILL        a request is repeated without ending the statement that was given up
 * BREAK_DISPOSE     a caller is told an error while its request is under way
 * BREAK_UNDO        a caller is told an error without undoing what may have been granted
 * BREAK_ADOPT       (hybrid) a repeated request that finds its own row leaves the session in it as it was
 * BREAK_LAZY        (permanent) the release need not be on the disk
 * BREAK_UNHEARD     (permanent) the lock never expires from the first statement on
 */
#define CLIENTS 2
#define CONNECTIONS 4      /* two for each client */
#define NONE CONNECTIONS
#define END 4              /* ticks */
#ifdef HYBRID
#define LEASE 3            /* longer than a silent session is kept */
#else
#define LEASE 2
#endif
#define FOREVER 99
#define SERVER_GIVES_UP 2  /* ticks of silence after which the server ends a connection: longer than a client waits */
#define CLIENT_GIVES_UP 2

mtype = { ACQUIRE, CONFIRM, RELEASE, BEAT, GRANTED, BUSY, DONE };
mtype = { WANTS, HOLDS, RELEASES, UNDOES, TOLD, OVER };

byte now;
byte owner, until;         /* the row: 0 is free, else 1 + the client */
byte keeper = NONE;        /* the connection whose end frees the row */
byte lazyOwner, lazyUntil; /* what the row was before a release that is not on the disk yet */
bool crashed, restored;    /* restored: the row is back for the rest of its lease, since the release was lost */

mtype state[CLIENTS] = WANTS;
byte deadline[CLIENTS], heard[CLIENTS], askedAt[CLIENTS];
bool heardOf[CLIENTS];     /* it was told that the lock is granted */
bool pending[CLIENTS];     /* a request is under way on the present connection */
bool maybe[CLIENTS];       /* something that it asked for may have taken effect */
byte resets;

bool alive[CONNECTIONS];
byte seen[CONNECTIONS];
byte present[CLIENTS];     /* 0 or 1: which of its connections a client uses */

chan question[CONNECTIONS] = [1] of { mtype };
chan answer[CONNECTIONS] = [1] of { mtype, byte };

#ifdef HYBRID
#define VOUCHED (keeper != NONE)
#define HEARD(c) (now < heard[c] + CLIENT_GIVES_UP)
#else
#define VOUCHED true
#define HEARD(c) true
#endif
#define LIVE (owner != 0 && now < until && VOUCHED)
#define BELIEVES(c) ((state[c] == HOLDS) && now < deadline[c] && HEARD(c))
#define CONNECTION(c) (2 * c + present[c])
#define OTHER_CONNECTION(c) (2 * c + 1 - present[c])

inline durable() { lazyOwner = 0; lazyUntil = 0; restored = false }

inline end(n) {
	alive[n] = false; seen[n] = 0;
	do :: nempty(question[n]) -> question[n]?_ :: empty(question[n]) -> break od;
	if :: keeper == n -> keeper = NONE :: else -> skip fi
}

inline serve(n) {
	question[n]?verb; seen[n] = now; result = DONE; left = 0;
	if
	:: verb == ACQUIRE && LIVE && owner != n / 2 + 1 -> result = BUSY
	:: verb == ACQUIRE && LIVE && owner == n / 2 + 1 ->
		result = GRANTED; left = until - now;
#ifndef BREAK_ADOPT
		keeper = n;
#endif
		durable()
	:: verb == ACQUIRE && !LIVE ->
#ifndef BREAK_ADOPT
		assert(state[n / 2] != TOLD);       /* held by no client */
#endif
		owner = n / 2 + 1; keeper = n; result = GRANTED; durable();
#ifdef BREAK_UNHEARD
		until = FOREVER; left = FOREVER;
		assert(until != FOREVER || heardOf[n / 2])
#else
		until = now + LEASE; left = LEASE
#endif
	:: verb == CONFIRM && LIVE && owner == n / 2 + 1 ->
		until = FOREVER; result = GRANTED; left = FOREVER; durable();
		assert(until != FOREVER || heardOf[n / 2])
	:: verb == RELEASE && LIVE && owner == n / 2 + 1 ->
		durable();
#ifdef BREAK_LAZY
		lazyOwner = owner; lazyUntil = until;
#else
		if :: until != FOREVER -> lazyOwner = owner; lazyUntil = until :: else -> skip fi;
#endif
		owner = 0; until = 0; keeper = NONE
	:: else -> skip
	fi;
	answer[n]!result, left;
	verb = BEAT; result = DONE; left = 0
}

active proctype Server() {
	mtype verb = BEAT, result = DONE;
	byte left;
	do
	:: atomic { nempty(question[0]) && nfull(answer[0]) -> serve(0) }
	:: atomic { nempty(question[1]) && nfull(answer[1]) -> serve(1) }
	:: atomic { nempty(question[2]) && nfull(answer[2]) -> serve(2) }
	:: atomic { nempty(question[3]) && nfull(answer[3]) -> serve(3) }
#ifdef HYBRID
	:: atomic { alive[0] && now >= seen[0] + SERVER_GIVES_UP -> end(0) }
	:: atomic { alive[1] && now >= seen[1] + SERVER_GIVES_UP -> end(1) }
	:: atomic { alive[2] && now >= seen[2] + SERVER_GIVES_UP -> end(2) }
	:: atomic { alive[3] && now >= seen[3] + SERVER_GIVES_UP -> end(3) }
#endif
#ifdef CRASHES
	:: atomic { !crashed ->
		crashed = true; end(0); end(1); end(2); end(3);
		if
		:: lazyOwner != 0 -> owner = lazyOwner; until = lazyUntil; durable(); restored = true;
			assert(until != FOREVER)    /* a permanent lock is back that its holder has released */
		:: else -> skip
		fi }
#endif
	od
}

active proctype Clock() { do :: now < END -> now++ od }

inline drain(n) { do :: nempty(answer[n]) -> answer[n]?_, _ :: empty(answer[n]) -> break od }

inline ask(what) { question[CONNECTION(me)]!what; pending[me] = true; askedAt[me] = now }

#ifdef BREAK_KILL
#define READY (!pending[me] && alive[CONNECTION(me)] && empty(question[CONNECTION(me)]))
#else
#define READY (!pending[me] && alive[CONNECTION(me)] && empty(question[CONNECTION(me)]) && !alive[OTHER_CONNECTION(me)])
#endif
#ifdef BREAK_ADOPT
#define TELL_ERROR state[me] = TOLD
#else
#define TELL_ERROR state[me] = TOLD; assert(restored || !(LIVE && owner == me + 1))   /* held by no client */
#endif

active [CLIENTS] proctype Client() {
	mtype result = DONE;
	byte left;
	byte me = _pid - 2;
	do
	/* it connects, the first time or again */
	:: atomic { state[me] != TOLD && state[me] != OVER && !alive[CONNECTION(me)] && !pending[me] ->
		alive[CONNECTION(me)] = true; seen[CONNECTION(me)] = now }
	/* the client's end is reset; the server has not noticed, and goes on with what it was asked */
	:: atomic { resets < 1 && alive[CONNECTION(me)] && !alive[OTHER_CONNECTION(me)] ->
		resets++; drain(CONNECTION(me)); pending[me] = false; present[me] = 1 - present[me];
#ifdef HYBRID
		if :: state[me] == HOLDS || state[me] == RELEASES -> state[me] = OVER :: else -> skip fi
#endif
		}
	/* the server ended the connection: the request under way has no answer */
	:: atomic { !alive[CONNECTION(me)] && pending[me] && empty(answer[CONNECTION(me)]) -> pending[me] = false }
#ifndef BREAK_KILL
	/* what was given up is ended at the server */
	:: atomic { alive[OTHER_CONNECTION(me)] -> end(OTHER_CONNECTION(me)) }
#endif
	:: atomic { state[me] == WANTS && READY -> ask(ACQUIRE); maybe[me] = true }
#ifdef HYBRID
	:: atomic { BELIEVES(me) && READY -> ask(BEAT) }
#endif
#ifdef PERMANENT
	:: atomic { BELIEVES(me) && deadline[me] != FOREVER && READY -> ask(CONFIRM) }
#endif
	:: atomic { BELIEVES(me) && READY -> state[me] = RELEASES; ask(RELEASE) }
	/* what may have been granted is undone before its caller is told */
	:: atomic { state[me] == WANTS && maybe[me] && READY -> state[me] = UNDOES; ask(RELEASE) }
	:: atomic { state[me] == UNDOES && READY -> ask(RELEASE) }
	:: atomic { state[me] == WANTS && !pending[me] && !maybe[me] -> TELL_ERROR }
#ifdef BREAK_UNDO
	:: atomic { state[me] == WANTS && !pending[me] && !alive[OTHER_CONNECTION(me)] -> TELL_ERROR }
#endif
#ifdef BREAK_DISPOSE
	:: atomic { state[me] == WANTS && pending[me] -> state[me] = TOLD }
#endif
	:: atomic { pending[me] && nempty(answer[CONNECTION(me)]) ->
		answer[CONNECTION(me)]?result, left; pending[me] = false;
		heard[me] = askedAt[me];
		if
		:: state[me] == WANTS && result == BUSY -> maybe[me] = false
		:: state[me] == WANTS && result == GRANTED ->
			heardOf[me] = true; maybe[me] = false; state[me] = HOLDS;
			deadline[me] = ((left == FOREVER) -> FOREVER : askedAt[me] + left);
			assert(!(BELIEVES(me) && BELIEVES((1 - me))))        /* exclusion */
		:: BELIEVES(me) && result == GRANTED ->
			deadline[me] = ((left == FOREVER) -> FOREVER : deadline[me])
		:: state[me] == UNDOES -> maybe[me] = false; TELL_ERROR
		:: state[me] == RELEASES -> state[me] = OVER
		:: else -> skip
		fi;
		result = DONE; left = 0 }
	:: atomic { (state[me] == HOLDS) && !pending[me] && !BELIEVES(me) -> state[me] = OVER }  /* lost */
	od
}
