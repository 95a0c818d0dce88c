/*
 * The protocols of lease and hybrid locks on one name, for Spin (https://spinroot.com).
 *
 * Time goes in ticks, for all alike: clients count it on monotonic clocks, the server on its own; how far a wall clock
 * is off does not come into it. Any process may stand still while time goes on, which is a pause. Messages may be
 * late, lost and (a repeated question) double. Checked: exclusion, whenever somebody begins or goes on to believe that
 * he holds, and rising tokens, at every grant. run.ts has the commands.
 *
 * HYBRID            the row is vouched for by its holder's session besides
 * BREAK_ANSWERED    the deadline is counted from the answer, not from before the question
 * BREAK_STRANGERS   a release frees the name whoever holds it
 * BREAK_SWEEP       clean-up deletes rows at once, and with them the last token
 * BREAK_TOLD        (hybrid) a client gives its session up later than the server does
 *
 * To keep the states few: what means nothing any more is 0, all that a process does is one loop, and the clients, which
 * are alike, are told apart by who asks first.
 */
#define CLIENTS 2
#ifdef HYBRID
#define OWNERS  2          /* how many acquisitions are asked for in all */
#define END     3          /* how many ticks there are */
#define LEASE   3          /* ticks that a lease lasts: longer than a silent session is kept */
#else
#define OWNERS  3
#define END     3
#define LEASE   2
#endif
#define FINE    8          /* tokens in a tick: the clock is finer than acquisitions follow each other */

#ifdef BREAK_SWEEP
#define GRACE   0          /* ticks that a free row is kept */
#else
#define GRACE   1
#endif

#define SERVER_GIVES_UP 2  /* ticks of silence after which the server ends a session */
#ifdef BREAK_TOLD
#define CLIENT_GIVES_UP 3
#else
#define CLIENT_GIVES_UP 2  /* ticks since the last answered question was asked: no later than the server */
#endif

mtype = { ACQUIRE, RENEW, RELEASE, BEAT, GRANTED, BUSY, DONE };

byte now;                  /* the time */
byte owners;               /* how many there were: each acquisition has its own */

/* The row, and the highest token so far, which nobody in the protocol knows. */
byte owner, until, token, freedAt, highest;
/* Whose session vouches for the row. */
#define NOBODY CLIENTS
byte keeper = NOBODY;

/* What clients believe. */
bool held[CLIENTS];
byte deadline[CLIENTS];
byte mine[CLIENTS];        /* the owner that it is, or wants to become */

/* Sessions: whether the server has it alive, and when each side last heard the other. */
bool alive[CLIENTS] = true;
byte seen[CLIENTS], heard[CLIENTS];

/* verb, owner, when it was asked; and for answers the ticks that are left. */
chan question[CLIENTS] = [1] of { mtype, byte, byte };
chan answer[CLIENTS] = [1] of { mtype, byte, byte, byte };

#ifdef HYBRID
#define BELIEVES(c) (held[c] && now < deadline[c] && now < heard[c] + CLIENT_GIVES_UP)
#define VOUCHED     (keeper != NOBODY)
#else
#define BELIEVES(c) (held[c] && now < deadline[c])
#define VOUCHED     true
#endif

#define LIVE (owner != 0 && now < until && VOUCHED)

inline grant(c, who) {
	token = ((token + 1 > now * FINE) -> token + 1 : now * FINE);
	assert(token > highest);           /* tokens rise */
	highest = token;
	owner = who; until = now + LEASE; freedAt = 0;
#ifdef HYBRID
	keeper = c
#endif
}

inline clear(at) {
	owner = 0; until = 0; keeper = NOBODY; freedAt = at
}

/* A statement is atomic: it has the row's lock. Its answer may be lost. */
inline serve(c) {
	question[c]?verb, who, asked;
#ifdef HYBRID
	seen[c] = now;
#endif
	result = DONE; left = 0;
	if
	:: verb == ACQUIRE && LIVE && owner != who -> result = BUSY
	:: verb == ACQUIRE && LIVE && owner == who -> result = GRANTED; left = until - now
	:: verb == ACQUIRE && !LIVE -> grant(c, who); result = GRANTED; left = LEASE
	:: verb == RENEW && LIVE && owner == who -> until = now + LEASE; result = GRANTED; left = LEASE
#ifdef BREAK_STRANGERS
	:: verb == RELEASE -> clear(now)
#else
	:: verb == RELEASE && LIVE && owner == who -> clear(now)
#endif
	:: else -> skip
	fi;
	if
	:: nfull(answer[c]) -> answer[c]!result, who, asked, left
	:: true -> skip                    /* lost */
	fi;
	verb = BEAT; who = 0; asked = 0; left = 0; result = DONE
}

/* The server ends a session, and with it what was on its way there. */
inline end(c) {
	alive[c] = false; seen[c] = 0;
	do :: nempty(question[c]) -> question[c]?_, _, _ :: empty(question[c]) -> break od;
	if :: keeper == c -> keeper = NOBODY :: else -> skip fi
}

active proctype Server() {
	mtype verb = BEAT, result = DONE;
	byte who, asked, left;
	do
	:: atomic { nempty(question[0]) -> serve(0) }
	:: atomic { nempty(question[1]) -> serve(1) }
	:: atomic { owner != 0 && now >= until -> clear(until) }                        /* cleanLocks clears */
	:: atomic { owner == 0 && token != 0 && now >= freedAt + GRACE -> token = 0; freedAt = 0 }  /* and deletes */
#ifdef HYBRID
	:: atomic { alive[0] && now >= seen[0] + SERVER_GIVES_UP -> end(0) }
	:: atomic { alive[1] && now >= seen[1] + SERVER_GIVES_UP -> end(1) }
#endif
	od
}

active proctype Clock() {
	do
	:: now < END -> now++
	od
}

/* What was on its way to a process or a connection that is gone. */
inline drain(c) {
	do :: nempty(answer[c]) -> answer[c]?_, _, _, _ :: empty(answer[c]) -> break od
}

#define OTHER (1 - me)
#define FORGET held[me] = false; deadline[me] = 0; mine[me] = 0; heard[me] = 0
#define MAY_ASK (alive[me] && nfull(question[me]))

active [CLIENTS] proctype Client() {
	mtype verb = BEAT;
	byte who, asked, left;
	byte me = _pid - 2;
	do
	:: atomic { mine[me] == 0 && owners < OWNERS && (owners > 0 || me == 0) && MAY_ASK ->
		owners++; mine[me] = owners; question[me]!ACQUIRE, mine[me], now }
	:: atomic { mine[me] != 0 && !held[me] && MAY_ASK ->                            /* once more: no answer came */
		question[me]!ACQUIRE, mine[me], now }
	:: atomic { BELIEVES(me) && MAY_ASK -> question[me]!RENEW, mine[me], now }
#ifdef HYBRID
	:: atomic { BELIEVES(me) && MAY_ASK -> question[me]!BEAT, mine[me], now }
#endif
	:: atomic { BELIEVES(me) && MAY_ASK -> question[me]!RELEASE, mine[me], now; FORGET }
	:: atomic { nempty(answer[me]) ->
		answer[me]?verb, who, asked, left;
		if
		:: who == mine[me] && mine[me] != 0 && (!held[me] || BELIEVES(me)) ->      /* what is lost stays lost */
#ifdef HYBRID
			heard[me] = ((asked > heard[me]) -> asked : heard[me]);
#endif
			if
			:: verb == GRANTED ->
#ifdef BREAK_ANSWERED
				left = left + now;
#else
				left = left + asked;
#endif
				deadline[me] = ((left > deadline[me]) -> left : deadline[me]);
				held[me] = true;
				assert(!(BELIEVES(me) && BELIEVES(OTHER)))      /* exclusion */
			:: else -> skip
			fi
		:: else -> skip                    /* of an earlier question that nobody waits for any more */
		fi;
		verb = BEAT; who = 0; asked = 0; left = 0 }
	:: atomic { mine[me] != 0 && !BELIEVES(me) -> FORGET }                          /* lost, or gave the wait up */
	:: atomic { mine[me] != 0 ->                                                    /* crash */
		FORGET; drain(me);
#ifdef HYBRID
		if :: alive[me] -> end(me) :: skip fi      /* the kernel ends the connection, unless it died too */
#endif
		}
#ifdef HYBRID
	:: atomic { !alive[me] && !held[me] -> alive[me] = true; seen[me] = now; drain(me) }  /* it connects anew */
#endif
	od
}
