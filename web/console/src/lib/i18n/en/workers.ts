export default { title: 'Workers' };
