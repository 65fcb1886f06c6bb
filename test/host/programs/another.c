/* Says that it runs; at a line of input runs the program that it was given, which does the same, and ends at the next. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char own[4096];

int main(int argc, char **argv)
{
	memset(own, argc > 1 ? 'a' : 'b', sizeof(own));
	printf("%llu\n", (unsigned long long)(unsigned long)own);
	fflush(stdout);
	if (getchar() != EOF && argc > 1)
		execl(argv[1], argv[1], NULL);
	return 0;
}
